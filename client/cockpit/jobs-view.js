// SPDX-License-Identifier: Apache-2.0
// Jobs as they go on: phase, layers, rate, remaining time, cancel, journal.
import { breakable, button, card, element, guarded, lines, table } from "./dom.js";
import { summary } from "./outcomes.js";
import { bytes, counted, duration, short } from "./text.js";

// Kinds that are called otherwise here.
const verbs = { prepare: "Preview", changes: "Compare", import: "Pull", check: "Check for an update", "check-images": "Check for updates", "import-archive": "Import an archive",
    rollback: "Roll back" };
const phases = { waiting: "waiting", manifest: "reading the manifest", fetch: "fetching layers", copy: "copying", merge: "merging the layers", relabel: "setting SELinux labels",
    commit: "committing", write: "writing", push: "pushing", mark: "finding what is used", count: "counting", prune: "removing", verify: "looking at images", hash: "checking objects",
    repair: "repairing", done: "done" };
const layersShown = 200;

export function title(job) {
    const images = job.images;
    const kind = (job.kind || "job").replaceAll("-", " ");
    return (verbs[job.kind] || kind[0].toUpperCase() + kind.slice(1)) + (images.length === 1 ? " " + images[0] : images.length ? " " + counted(images.length, "image") : "");
}

// The state of a job in a few words.
export function doing(job) {
    const state = job.properties.State;
    if (job.ended) return { success: "finished", cancelled: "cancelled" }[job.result] || "failed";
    if (state === "queued") return job.properties.Position > 0 ? counted(job.properties.Position, "job") + " ahead" : "queued";
    if (state === "cancelling") return "cancelling";
    return phases[job.properties.Phase] || job.properties.Phase || "starting";
}

// Counts beside the bar.
function figures(job) {
    const { Layers: [layers, allLayers] = [0, 0], Bytes: [done, all] = [0, 0], Steps: [steps, allSteps] = [0, 0], Unit: unit = "" } = job.properties;
    const now = performance.now() / 1000, parts = [];
    if (allLayers) parts.push(`${layers} of ${counted(allLayers, "layer")}`);
    if (allSteps) parts.push(`${steps} of ${allSteps} ${unit}`);
    if (all) parts.push(`${bytes(done)} of ${bytes(all)}`);
    if (!job.ended && job.properties.Phase === "fetch" && all) {
        const rate = job.rate(now), remaining = job.remaining(now);
        parts.push(rate === null ? "rate unknown yet" : bytes(Math.round(rate)) + "/s");
        if (remaining !== null && rate) parts.push(duration(remaining) + " left");
    }
    return parts.join(" · ");
}

export function progress(job) {
    const percent = Math.floor(Math.min(1, Math.max(0, job.fraction)) * 100);
    return element("div", { class: "progress-block" },
        element("div", { class: "progress-line" }, element("span", { class: "doing" }, doing(job)), element("span", {}, percent + " %")),
        element("div", { class: "progress" + (job.result === "failed" ? " failed" : ""), role: "progressbar", "aria-label": title(job), "aria-valuemin": "0", "aria-valuemax": "100",
            "aria-valuenow": percent, "aria-valuetext": `${percent} %, ${doing(job)}` }, element("div", { style: { width: percent + "%" } })),
        element("div", { class: "figures" }, figures(job)));
}

function layerTable(job) {
    const layers = [...job.layers.entries()].sort(([a], [b]) => a - b);
    if (layers.length === 0) return null;
    const count = (state) => layers.filter(([, layer]) => layer.state === state).length;
    const said = ["fetching", "waiting", "done", "reused"].filter(count).map((state) => `${count(state)} ${state}`).join(", ");
    const rows = layers.slice(0, layersShown).map(([index, layer]) => ({ key: "layer-" + index, cells: [
        element("code", { title: layer.digest }, short(layer.digest)), layer.state,
        layer.state === "fetching" ? `${bytes(layer.done)} of ${bytes(layer.total)}` : bytes(layer.total),
        element("progress", { max: layer.total || 1, value: ["done", "reused"].includes(layer.state) ? layer.total || 1 : layer.done,
            "aria-label": "Layer " + short(layer.digest) })] }));
    return element("details", { class: "job-layers", key: "layers" }, element("summary", {}, `Layers: ${said}`),
        table("Layers of this job", [{ title: "Layer" }, { title: "State" }, { title: "Size", class: "number" }, { title: "Progress" }], rows),
        layers.length > layersShown ? element("p", {}, `and ${layers.length - layersShown} more`) : null);
}

function journal(job, journals) {
    const shown = journals.of(job);
    if (!shown) return null;
    return element("div", { class: "journal", key: "journal", role: "log", "aria-label": "Journal of job " + job.id, tabindex: "0" },
        shown.problem ? element("p", {}, shown.problem) : null,
        shown.entries.length || shown.problem ? element("pre", {}, shown.entries.map((entry, at) => [at > 0 ? document.createTextNode("\n") : null, entry])) :
            element("p", {}, "The journal has no entry of this job yet."));
}

const badges = { success: "success", cancelled: "", failed: "danger" };

function jobCard(job, { jobs, journals, attempt }) {
    const head = element("div", { class: "job-head" },
        element("h3", {}, breakable(title(job))), element("span", { class: "label" }, "job " + job.id),
        job.ended ? element("span", { class: "badge " + (badges[job.result] || "") }, doing(job)) : null,
        element("div", { class: "actions" },
            button(journals.of(job) ? "Hide journal" : "Journal", () => journals.toggle(job), { "aria-expanded": String(Boolean(journals.of(job))), key: "journal-button",
                "aria-label": (journals.of(job) ? "Hide journal of job " : "Journal of job ") + job.id }),
            job.ended ? button("Dismiss", () => { journals.close(job); jobs.dismiss(job); }, { key: "dismiss", "aria-label": "Dismiss job " + job.id }) :
                button("Cancel", () => attempt(() => jobs.cancel(job)), { key: "cancel", disabled: job.properties.State === "cancelling",
                    "aria-label": "Cancel job " + job.id })));
    return element("article", { class: "job" + (job.ended ? " ended " + job.result : ""), key: job.key }, head, job.ended ? null : progress(job),
        job.ended && job.result === "failed" ? element("p", { class: "job-error" }, lines(job.message || "It failed.")) : null,
        job.ended && job.result === "success" ? element("details", { class: "outcome", key: "outcome", open: job.own || job.kind === "check-images" },
            element("summary", {}, "Result"), summary(job.kind, job.outcome || {})) : null,
        layerTable(job), journal(job, journals));
}

// All jobs, or those that run and those about IMAGE. What others previewed is of no interest once it has ended.
export function jobsCard(context, image = null) {
    const wanted = (job) => !job.inDialog && (!job.ended || (!["prepare", "changes", "disk-usage"].includes(job.kind) && (image === null || job.images.includes(image))));
    const all = context.jobs.all.filter((job) => job.kind && wanted(job)).reverse();
    const shown = all.filter((job) => !job.earlier), earlier = all.filter((job) => job.earlier), ended = all.filter((job) => job.ended);
    if (shown.length + (image === null ? earlier.length : 0) === 0) return null;
    const guardedCard = (job) => guarded(job.key, "Job " + job.id, () => jobCard(job, context));
    return card("jobs", "Jobs", ended.length ? button("Dismiss all that have ended", () => ended.forEach((job) => context.jobs.dismiss(job)), { key: "dismiss-all" }) : null,
        shown.map(guardedCard),
        earlier.length ? element("details", { key: "earlier" }, element("summary", {}, `Ended in the last minute (${earlier.length})`),
            earlier.map(guardedCard)) : null);
}
