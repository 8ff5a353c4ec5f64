// SPDX-License-Identifier: Apache-2.0
// One image: what is known of it, its labels, the history of its layers, earlier versions, damage.
import { breakable, button, card, element, fields, notice, table } from "./dom.js";
import { badges } from "./images-view.js";
import { difference, filtered, policy } from "./outcomes.js";
import { bytes, counted, short, time } from "./text.js";

const shortText = 160; // characters of a command before it is folded away
const mostRows = 500; // of labels, of steps of the history: an image may have a million

// What the page knows of the image NAME beyond the list: read when it is opened, and again when the image changes.
export class Details {
    constructor(bus, store, changed) {
        Object.assign(this, { bus, store, changed, name: null, image: null, config: null, found: null, problem: "" });
    }

    async open(name) {
        const other = name !== this.name;
        if (other) Object.assign(this, { name, image: null, config: null, found: null, problem: "" });
        if (name === null) return;
        const listed = this.store.image(name);
        const state = listed ? `${listed.digest} ${listed.state} ${listed["update-digest"]} ${listed.version} ${listed["signature-policy"]}` : "";
        if (!other && state === this.state && (this.image || this.problem)) return;
        this.state = state;
        let image;
        try {
            [image] = await this.bus.call("GetImage", "s", [name]);
        } catch (error) {
            // What was known stays while imaged cannot be asked, but not of an image that is gone.
            if (this.name === name && (!this.image || error.kind === "NotFound")) Object.assign(this, { image: null, config: null, found: null, problem: error.message });
            return this.changed();
        }
        if (this.name === name) Object.assign(this, { image, problem: "" });
        this.changed();
        try {
            if (image.state !== "damaged" || image.digest) {
                const [config] = await this.bus.call("GetConfig", "s", [name]);
                if (this.name === name) this.config = JSON.parse(config);
            }
            await this.compare(name, image);
        } catch (error) {
            // Neither history nor changes, then.
        }
        this.changed();
    }

    // What the update would change.
    async compare(name, image) {
        this.found = image["update-digest"] ? (await this.bus.call("Diff", "ssa{sv}", [name, "", {}]))[0] : null;
    }
}

function long(text) {
    if (text.length <= shortText) return element("code", {}, text);
    return element("details", {}, element("summary", {}, element("code", {}, text.slice(0, shortText) + "…")), element("code", {}, text));
}

function historyCard(image, config) {
    const layers = [...(image["layer-list"] || [])], steps = config && Array.isArray(config.history) ? config.history : [];
    const made = (step) => step && !step.empty_layer;
    // Steps of the history that made no layer stand between the others.
    const matches = steps.filter(made).length === layers.length, count = matches ? steps.length : layers.length;
    const row = (layer, step, at) => ({ key: "step-" + at, cells: [
        layer ? element("code", { title: layer.digest }, short(layer.digest)) : "no layer", layer ? layer.kind : "-", layer ? bytes(layer.size) : "-",
        step && step.created ? String(step.created) : "-",
        [long(String((step && step.created_by) || (layer && layer["created-by"]) || "-")), step && step.comment ? element("div", { class: "small" }, String(step.comment)) : null,
            layer && !layer.commit ? element("span", { class: "badge danger" }, "gone") : null]] });
    const rows = (matches ? steps : layers).slice(0, mostRows).map((one, at) => matches ? row(made(one) ? layers.shift() : null, one, at) : row(one, null, at));
    return card("history", "Layers and history", null, table("Layers and history", [{ title: "Layer" }, { title: "Kind" }, { title: "Size", class: "number" }, { title: "Made" }, { title: "Made by" }],
        rows), rest(count, "imagectl config"));
}

// What is left out of COUNT rows, and which COMMAND has it.
function rest(count, command) {
    return count > mostRows ? element("p", { key: "rest" }, `and ${count - mostRows} more, which “${command}” prints`) : null;
}

function keptCard(image, actions) {
    if (!image.kept || image.kept.length === 0) return null;
    return card("kept", "Earlier versions", null, table("Earlier versions", [{ title: "Digest" }, { title: "Version" }, { title: "Commit" }, { title: "", class: "row-actions" }],
        image.kept.map((kept) => ({ key: kept.digest, cells: [element("code", { title: kept.digest }, short(kept.digest)), kept.version || "-",
            element("code", { title: kept.commit }, short(kept.commit)),
            element("span", { class: "actions" },
                button("Changes since", () => actions.changes(image, kept), { "aria-label": "Changes since " + (kept.version || short(kept.digest)) }),
                button("Roll back", () => actions.rollback(image, kept), { "aria-label": "Roll back to " + (kept.version || short(kept.digest)) }))] }))));
}

function labelsCard(image) {
    const labels = Object.entries(image.labels || {});
    if (labels.length === 0) return null;
    return card("labels", "Labels", null, table("Labels", [{ title: "Name" }, { title: "Value" }],
        labels.slice(0, mostRows).map(([name, value]) => ({ key: "label-" + name, cells: [element("code", {}, name), long(value)] }))), rest(labels.length, "imagectl show"));
}

function changesCard(details, actions) {
    if (!details.found) return null;
    return card("changes", "What the update changes", button("Packages and /etc", () => actions.changes(details.image), { id: "packages" }),
        difference(details.found));
}

export function breadcrumb(name) {
    return element("nav", { "aria-label": "Breadcrumb", class: "breadcrumb", key: "breadcrumb" },
        element("a", { href: "#/" }, "System images"), element("span", { "aria-hidden": "true" }, " › "), element("span", { "aria-current": "page" }, breakable(name)));
}

export function detailsView({ details, actions }) {
    const { name, image } = details;
    if (details.problem) return notice("danger", "This image cannot be read", element("p", {}, details.problem));
    if (!image) return element("p", { key: "loading" }, "Reading…");
    const platform = image.os || image.architecture ? `${image.os || "?"}/${image.architecture || "?"}` : null;
    const code = (text) => text ? element("code", {}, text) : null;
    return [card("image", breakable(name), [
        image["update-digest"] ? button("Update", () => actions.update([image]), { class: "button primary", id: "update" }) : null,
        button("Verify", () => actions.verify([name]), { id: "verify" }),
        button("Remove", () => actions.remove(image), { class: "button danger-text", id: "remove" })],
    image.state === "damaged" ? notice("danger", "This image is damaged", element("p", {}, image.error || ""),
        button("Repair", () => actions.repair([name]), { id: "repair" })) : null,
    element("p", { class: "badges" }, badges(image)),
    fields([
        ["Version", image.version], ["Digest", code(image.digest)], ["Update", code(image["update-digest"])], ["Image ID", code(image["image-id"])],
        ["Made for", platform], ["Came from", image.source === "archive" ? "an archive" : code(image.source)], ["Created", image.created ? time(image.created) : null],
        ["Compressed", `${bytes(image.size)}, ${counted(image.layers || 0, "layer")}`],
        ["Size on disk", image["disk-size"] === undefined ? null : bytes(image["disk-size"])], ["Of its own", image["unique-size"] === undefined ? null : bytes(image["unique-size"])],
        ["Commit", code(image.commit)], ["Merge commit", code(image["merge-commit"])], ["Base commit", code(image["base-commit"])], ["Written by", image.importer]]),
    image["signature-policy"] ? policy(image["signature-policy"]) : null, filtered(image.filtered)),
    changesCard(details, actions), keptCard(image, actions), labelsCard(image),
    historyCard(image, details.config)];
}
