// SPDX-License-Identifier: Apache-2.0
// The jobs of imaged, as its signals and properties report them: each to its end, and for as long as the page shows it.
import { Failure, job as jobInterface, manager } from "./bus.js";

const span = 5; // seconds over which the rate is measured, at least
const kept = 20; // ended jobs that stay on the page

export class Job {
    // KEY: no other job has it. PATH is one of the imaged that runs: the next one begins with job 1 again.
    constructor(id, path, key) {
        // "own": asked for by this page; "inDialog": shown in a dialogue, and not behind it, where buttons would move; "earlier": had ended before the page saw it.
        Object.assign(this, { id, path, key, properties: {}, layers: new Map(), samples: [], ended: false, own: false, inDialog: false, earlier: false, result: "", error: "", message: "", outcome: null });
        this.end = new Promise((resolve) => { this.resolve = resolve; });
    }

    get kind() { return this.properties.Kind || ""; }
    get images() { return this.properties.Images && this.properties.Images.length ? this.properties.Images : this.subject || []; }
    get fraction() { return this.result === "success" ? 1 : this.properties.Fraction > 0 ? this.properties.Fraction : 0; }

    renew(changed, now) {
        Object.assign(this.properties, changed);
        if (changed.Bytes) {
            const done = changed.Bytes[0], last = this.samples[this.samples.length - 1];
            if (last && done < last.done) this.samples = [];
            this.samples.push({ now, done });
            // Bytes that come more seldom than that have a rate, too.
            while (this.samples.length > 2 && now - this.samples[1].now > span) this.samples.shift();
        }
    }

    // Bytes per second over the last seconds; null until half a second has been seen.
    rate(now) {
        const first = this.samples[0], last = this.samples[this.samples.length - 1];
        const passed = first ? Math.max(now, last.now) - first.now : 0;
        return passed < 0.5 ? null : (last.done - first.done) / passed;
    }

    // Seconds until all bytes are there; null while nobody can say.
    remaining(now) {
        const [done, total] = this.properties.Bytes || [0, 0], rate = this.rate(now);
        return rate ? Math.max(0, total - done) / rate : null;
    }

    finish(result, error, message, outcome) {
        if (this.ended) return;
        Object.assign(this, { ended: true, result, error, message, outcome });
        this.properties.State = "finished";
        this.resolve(this);
    }
}

const seconds = () => performance.now() / 1000;

// Events: "changed", "ended" (detail: the job).
export class Jobs extends EventTarget {
    constructor(bus) {
        super();
        this.bus = bus;
        this.all = []; // in the order in which the page has seen them
        this.now = new Map(); // path → job, of the imaged that runs
        this.count = 0;
        bus.addEventListener("signal", ({ detail }) => this.heard(detail));
        bus.addEventListener("owner", ({ detail }) => { if (!detail) this.left(); });
        bus.addEventListener("lost", () => this.left());
    }

    get running() { return this.all.filter((job) => !job.ended); }

    at(path) {
        if (!this.now.has(path)) {
            const job = new Job(Number(path.slice(path.lastIndexOf("/") + 1)), path, "job-" + ++this.count);
            this.now.set(path, job);
            this.all.push(job);
            const ended = this.all.filter((one) => one.ended && !one.own);
            ended.slice(0, Math.max(0, ended.length - kept)).forEach((one) => this.drop(one));
        }
        return this.now.get(path);
    }

    async load() {
        for (const [, path, , state] of (await this.bus.call("ListJobs", "", []))[0]) {
            this.at(path).earlier = state === "finished" && !this.at(path).own;
            await this.read(path);
        }
    }

    // The job as it is now. One that is not there any more has ended, and nobody can say how.
    async read(path) {
        const job = this.at(path);
        try {
            job.renew(await this.bus.properties(path, jobInterface), seconds());
            if (job.properties.State === "finished") await this.ended(job);
        } catch (error) {
            if (!job.kind) this.drop(job);
        }
        this.changed();
        return job;
    }

    heard({ path, interface: from, member, values }) {
        if (from === manager && member === "JobNew") this.read(values[1]);
        if (member === "PropertiesChanged" && values[0] === jobInterface && this.now.has(path)) {
            this.at(path).renew(values[1], seconds());
            this.changed();
        }
        // What an imaged said last may come after the news that it has left: path is the next one's by then.
        if (from !== jobInterface || !this.now.has(path)) return;
        const job = this.at(path);
        if (member === "LayerProgress") {
            const [index, digest, state, done, total] = values;
            job.layers.set(index, { digest, state, done, total });
            this.changed();
        }
        if (member === "Finished") this.ended(job, values);
    }

    // FINISHED: the arguments of the signal. Everybody receives it, so it leaves private outcomes out; GetOutcome returns those to callers who may see them.
    async ended(job, finished) {
        let [result, error, message, outcome] = finished || ["", "", "", {}];
        if (!finished || (result === "success" && Object.keys(outcome).length === 0))
            try {
                [result, error, message, outcome] = await this.bus.call("GetOutcome", "", [], job.path, jobInterface);
            } catch (failure) {
                const known = job.properties;
                if (!finished) [result, error, message, outcome] = [known.Result, known.ErrorName, known.ErrorMessage, known.Outcome || {}];
            }
        if (job.ended) return;
        job.finish(result, error, message, outcome);
        this.dispatchEvent(new CustomEvent("ended", { detail: job }));
        this.changed();
    }

    // imaged has left the bus: its jobs are gone, and the next one numbers its own from the beginning.
    left() {
        for (const job of this.running) {
            job.finish("failed", "org.imaged1.Error.Stopped", "imaged has left the bus before the job ended", {});
            this.dispatchEvent(new CustomEvent("ended", { detail: job }));
        }
        this.now.clear();
        this.changed();
    }

    // Calls a method that starts a job. SUBJECT: the images it is about, which a private job does not show.
    async start(method, signature, values, subject) {
        const [, path] = await this.bus.call(method, signature, values);
        const job = this.at(path);
        job.own = true;
        job.subject = subject;
        await this.read(path);
        return job;
    }

    // The same, to the job's end: its outcome. PROGRESS is called with the job as soon as there is one. Throws a Failure where it does not succeed.
    async run(method, signature, values, subject, progress = () => {}) {
        const job = await this.start(method, signature, values, subject);
        progress(job);
        await job.end;
        if (job.result === "success") return job.outcome;
        const cancelled = job.result === "cancelled" && !job.message;
        throw new Failure({ name: job.error, message: cancelled ? "the job was cancelled" : job.message || "the job failed" });
    }

    cancel(job) {
        return this.bus.call("Cancel", "", [], job.path, jobInterface);
    }

    dismiss(job) {
        this.drop(job);
        this.changed();
    }

    drop(job) {
        this.all = this.all.filter((one) => one !== job);
        if (this.now.get(job.path) === job) this.now.delete(job.path);
    }

    changed() {
        this.dispatchEvent(new CustomEvent("changed"));
    }
}
