// SPDX-License-Identifier: Apache-2.0
// What a job has found or done, in words. The keys are those of dbus/org.imaged1.Manager.xml.
import { breakable, element, fields, notice, table } from "./dom.js";
import { bytes, counted, proof, short } from "./text.js";

const code = (text) => text ? element("code", {}, text) : null;

function list(title, records, line) {
    if (!records || records.length === 0) return null;
    return element("div", { class: "found" }, element("p", {}, element("strong", {}, title)), element("ul", {}, records.map((record) => element("li", {}, line(record)))));
}

const about = (record) => `${record.image}: ${record.error || record.message || ""}`;

function truncated(outcome) {
    return outcome.truncated && outcome.truncated.length ? element("p", {}, "Not everything is listed, because the result was too long: " + outcome.truncated.join(", ")) : null;
}

// The rule for signatures, and what it proves.
export function policy(text) {
    const { signed, text: meaning } = proof(text);
    return notice(signed ? "success" : "warning", signed ? "Signature verified" : "No signature verified", element("p", {}, meaning),
        text ? element("p", {}, "Rule: ", code(text)) : null);
}

// What an import would do: the outcome of Prepare.
export function preview(outcome) {
    const platform = outcome.os || outcome.architecture ? `${outcome.os || "?"}/${outcome.architecture || "?"}` : null;
    return [fields([
        ["Image", outcome.image ? element("code", {}, breakable(outcome.image)) : null],
        ["Version", outcome.version],
        ["Digest", code(outcome.digest)],
        ["Stored digest", code(outcome["previous-digest"])],
        ["Made for", platform],
        ["Layout", outcome.layout],
        ["Layers", `${outcome["layers-present"] || 0} here, ${outcome["layers-missing"] || 0} missing`],
        ["To fetch", element("strong", {}, bytes(outcome["bytes-to-fetch"]))],
    ]), policy(outcome["signature-policy"])];
}

function pulled(outcome) {
    if (outcome.changed === false) return element("p", {}, "The image was here already.");
    const dropped = [["special-files-dropped", "special files"], ["names-dropped", "names that are not UTF-8"], ["attributes-dropped", "attributes"]]
        .filter(([key]) => outcome[key] > 0).map(([key, what]) => `${outcome[key]} ${what}`);
    return [fields([
        ["Version", outcome.version], ["Digest", code(outcome.digest)],
        ["Layers", `${outcome.layers || 0}, ${outcome["layers-fetched"] || 0} of them fetched`],
        ["Fetched", `${bytes(outcome["bytes-fetched"])}, ${bytes(outcome["bytes-reused"])} were here`],
        ["Signatures", outcome["signature-policy"]],
        ["Not kept", dropped.join(", ")],
    ]), filtered(outcome.filtered)];
}

// Entries that the store format does not keep.
export function filtered(layers) {
    const entries = Object.entries(layers || {}).flatMap(([layer, paths]) => Object.entries(paths).map(([path, count]) => ({ layer, path, count })));
    return list("Not kept by the store format", entries, (entry) => `${entry.path}: ${counted(entry.count, "entry", "entries")} of layer ${short(entry.layer)}`);
}

function checked(outcome) {
    return [element("p", {}, `${counted(outcome["images-checked"] || 0, "image")} checked, ${counted((outcome.updates || []).length, "update")}.`),
        list("Updates", outcome.updates, (update) => `${update.image}: ${update["update-version"] ? "version " + update["update-version"] + ", " : ""}` +
            `${bytes(update["bytes-to-fetch"])} to fetch`),
        list("Cannot be checked", outcome.unchecked, about)];
}

export function pruned(outcome) {
    const dry = outcome["dry-run"];
    return [fields([
        [dry ? "Would be freed" : "Freed", element("strong", {}, bytes(outcome.bytes))],
        ["Objects", `${outcome.objects || 0} of ${outcome["objects-total"] || 0}`],
        ["Commits", outcome.commits ? String(outcome.commits) : null],
        ["Layers", String((outcome["layers-dropped"] || []).length)],
        ["Kept", outcome["foreign-commits"] ? counted(outcome["foreign-commits"], "commit") + " of other programs that no ref names" : null],
    ]), list("Cannot be read", outcome.damaged, about), list("Warnings", outcome.warnings, (warning) => warning)];
}

// What DiskUsage has counted.
export function usage(outcome) {
    const columns = [{ title: "What" }, { title: "How many", class: "number" }, { title: "Size", class: "number" }, { title: "Unique", class: "number" }];
    const users = [["Images", "images"], ["Deployments", "deployments"], ["Other refs", "refs"], ["Commits without a ref", "foreign-commits"]]
        .filter(([, key]) => key !== "foreign-commits" || outcome[key] > 0)
        .map(([name, key]) => ({ key, cells: [name, String(outcome[key] || 0), bytes(outcome[key + "-size"]), bytes(outcome[key + "-unique-size"])] }));
    const others = (outcome.others || []).map((user, at) => ({ key: "other-" + at, cells: [
        user.kind === "deployment" ? element("code", { title: user.name }, user.name.replace(/^[0-9a-f]{64}/, short)) : breakable(user.name),
        user.kind, bytes(user["disk-size"]), bytes(user["unique-size"])] }));
    return [table("Disk usage", columns, [...users, { key: "all", cells: ["All objects", String(outcome.objects || 0), bytes(outcome["disk-size"]), "-"] }]),
        fields([["Prune frees", element("strong", {}, bytes(outcome["prunable-size"]))]]),
        others.length ? table("Deployments and refs", [{ title: "Name" }, { title: "Kind", class: "word" }, ...columns.slice(2)], others) : null,
        list("Cannot be read, and is not counted", outcome.damaged, about)];
}

function problems(image) {
    const more = (image["problem-count"] || 0) - (image.problems || []).length;
    return [image.image, element("ul", {}, (image.problems || []).map((problem) => element("li", {},
        [`${problem.kind}: ${problem.message}`, problem.object && ", " + problem.object, problem.path && ", " + problem.path,
            problem.layer && ", layer " + short(problem.layer), problem.ref && ", ref " + problem.ref])),
    more > 0 ? element("li", {}, `and ${more} more`) : null)];
}

export function verified(outcome) {
    return [
        outcome.sound ? notice("success", "No problems found") : notice("danger", "Problems were found"),
        element("p", {}, `Checked ${counted(outcome["images-checked"] || 0, "image")}, ${counted(outcome["objects-checked"] || 0, "object")}, ${bytes(outcome["bytes-checked"])}.`),
        list("Damaged", outcome.damaged, problems),
        list("Repaired", outcome.repaired, (image) => `${image.image}: ${counted(image["layers-fetched"] || 0, "layer")} fetched, ${bytes(image["bytes-fetched"])}`),
        list("Not repaired", outcome.unrepaired, about),
        list("Fetched again", outcome.refetched, (image) => `${image.image}: ${counted(image["layers-fetched"] || 0, "layer")}, ${bytes(image["bytes-fetched"])}`),
        list("Damaged layers that no image uses", outcome["damaged-layers"], (layer) => `${layer.digest}: ${layer.error}`),
        list("Damaged earlier versions", outcome["damaged-kept"], (kept) => `${kept.image}, ${short(kept.digest)}: ${kept.error}`),
        list("Not checked to the end", outcome.unchecked, about),
        list("Layers that imaged did not fetch itself", outcome.unverified, (image) => `${image.image}: ${counted((image.layers || []).length, "layer")}` +
            (image.error ? ", cannot be fetched: " + image.error : "; a repair fetches them again")),
        list("Notes", outcome.notes, about),
        list("Warnings", outcome.warnings, (warning) => warning),
        list("Not stored", outcome.missing, (image) => image),
        outcome["not-recorded"] ? element("p", {}, "Lists do not show what was found: " + outcome["not-recorded"]) : null,
    ];
}

function removed(outcome) {
    const layers = (outcome["layers-dropped"] || []).length;
    return [list("Removed", outcome.removed, (image) => image.image), list("Not stored", outcome.missing, (image) => image),
        layers ? element("p", {}, `${layers === 1 ? "1 layer has" : layers + " layers have"} no user any more; pruning frees the room.`) : null];
}

function anything(outcome) {
    return fields(Object.entries(outcome).filter(([, value]) => typeof value !== "object").map(([key, value]) => [key.replaceAll("-", " "), String(value)]));
}

const kinds = { prepare: preview, changes, pull: pulled, import: pulled, "import-archive": pulled, "check-images": checked, remove: removed, prune: pruned, "disk-usage": usage, verify: verified };

export function summary(kind, outcome) {
    return [(kinds[kind] || anything)(outcome), truncated(outcome)];
}

function layers(title, records) {
    return list(title, records, (layer) => [code(short(layer.digest)), ` ${bytes(layer.size)}`, layer.present ? ", is here" : "", layer["created-by"] ? `: ${layer["created-by"]}` : ""]);
}

const texts = (title, values) => list(title, values, (value) => element("code", {}, value));

function packages(title, total, records) {
    const more = (total || 0) - (records || []).length;
    const line = (record) => [element("strong", {}, record.name), ` ${[record.from, record.to].filter(Boolean).join(" → ")}`, record.architecture ? ` (${record.architecture})` : ""];
    return [list(`${title} (${total || 0})`, records, line), more > 0 ? element("p", {}, `and ${more} more`) : null];
}

// What Changes has found: what people know a system by.
export function changes(found) {
    const side = (name) => found[`${name}-version`] || short(found[`${name}-digest`] || found[`${name}-commit`]);
    const etc = ["added", "removed", "changed"].map((what) => found["etc-" + what] || []);
    const nothing = !found.unknown && !etc.flat().length && !(found["changed-total"] || found["added-total"] || found["removed-total"]) &&
        !(found["kernels-added"] || []).length && !(found["kernels-removed"] || []).length;
    return [fields([["From", side("from")], ["To", side("to")],
        ["Packages", found["packages-from"] === undefined ? null : `${found["packages-from"]} before, ${found["packages-to"]} after`]]),
    found.unknown ? notice("info", "The changes are not known yet", element("p", {}, found.unknown)) : null,
    nothing ? element("p", {}, "No package, no kernel and no file of /etc differs.") : null,
    texts("Kernels added", found["kernels-added"]), texts("Kernels removed", found["kernels-removed"]),
    packages("Packages changed", found["changed-total"], found["packages-changed"]),
    packages("Packages added", found["added-total"], found["packages-added"]),
    packages("Packages removed", found["removed-total"], found["packages-removed"]),
    list("Databases that cannot be read", found["packages-unread"], (database) => `${database.path}: ${database.error}`),
    texts("Files of /etc changed", found["etc-changed"]), texts("Files of /etc added", found["etc-added"]), texts("Files of /etc removed", found["etc-removed"]),
    found["etc-truncated"] ? element("p", {}, "There are more files of /etc than are listed.") : null];
}

// What Diff has found.
export function difference(found) {
    const files = ["added", "removed", "changed"].map((what) => ({ what, paths: found["files-" + what] || [] }));
    const paths = files.some(({ paths }) => paths.length > 0);
    return [fields([
        ["From", found["from-version"] || short(found["from-digest"])],
        ["To", found["to-version"] || short(found["to-digest"])],
        ["New digest", code(found["to-digest"])],
        ["Added", `${counted((found["layers-added"] || []).length, "layer")}, ${bytes(found["bytes-added"])}`],
        ["Removed", `${counted((found["layers-removed"] || []).length, "layer")}, ${bytes(found["bytes-removed"])}`],
        ["Kept", `${counted((found["layers-kept"] || []).length, "layer")}, ${bytes(found["bytes-kept"])}`],
    ]),
    layers("Layers added", found["layers-added"]), layers("Layers removed", found["layers-removed"]),
    paths ? files.map(({ what, paths: names }) => list("Files " + what, names, (path) => path)) : null,
    found.truncated === true ? element("p", {}, "There are more files than are listed.") : null];
}
