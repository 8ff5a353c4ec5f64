// SPDX-License-Identifier: Apache-2.0
// What the journal has of a job, followed while the job goes on.

const most = 500; // lines that are shown of one job

function text(entry) {
    const date = new Date(Number(entry.__REALTIME_TIMESTAMP || 0) / 1000);
    // A message with bytes that are no text comes as an array of numbers.
    const message = Array.isArray(entry.MESSAGE) ? new TextDecoder().decode(new Uint8Array(entry.MESSAGE)) : String(entry.MESSAGE);
    return date.toLocaleTimeString() + " " + message;
}

function end(shown) {
    shown.closed = true;
    shown.process.close();
}

export class Journals {
    constructor(changed) {
        this.shown = new Map();
        this.changed = changed;
    }

    of(job) {
        return this.shown.get(job.key);
    }

    toggle(job) {
        if (this.of(job)) this.close(job);
        else this.open(job);
        this.changed();
    }

    open(job) {
        const shown = { entries: [], problem: "", rest: "" };
        const follow = job.ended ? [] : ["--follow"], { CreateTimestamp: begin, FinishTimestamp: finish } = job.properties;
        // Each imaged numbers its jobs from 1. What is said of the end of a job comes after it.
        const when = [begin > 0 ? "--since=@" + (begin / 1e6).toFixed(6) : null, finish > 0 ? "--until=@" + (finish / 1e6 + 1).toFixed(6) : null].filter(Boolean);
        shown.process = globalThis.cockpit.spawn(["journalctl", "--output=json", "--quiet", "--lines=" + most, ...follow, ...when, "_SYSTEMD_UNIT=imaged.service", "IMAGED_JOB=" + job.id],
            { superuser: "try", err: "message" });
        shown.process.stream((data) => {
            const all = (shown.rest + data).split("\n");
            shown.rest = all.pop();
            for (const line of all)
                try {
                    shown.entries.push(text(JSON.parse(line)));
                } catch (error) {
                    shown.entries.push(line);
                }
            shown.entries.splice(0, shown.entries.length - most);
            this.changed();
        });
        shown.process.catch((error) => {
            if (shown.closed) return;
            shown.problem = "The journal cannot be read: " + (error.message || error.problem);
            this.changed();
        });
        this.shown.set(job.key, shown);
        // journalctl --follow does not end by itself.
        job.end.then(() => setTimeout(() => end(shown), 2000));
    }

    close(job) {
        const shown = this.of(job);
        this.shown.delete(job.key);
        if (shown) end(shown);
    }
}
