// SPDX-License-Identifier: Apache-2.0
// The table of images, and the picture of their layers.
import { breakable, button, card, element, table } from "./dom.js";
import { acceptsAnything, bytes, counted, short } from "./text.js";

const firstRows = 100, moreRows = 400;
const firstHue = 215; // blue: red looks like an error

// Half of a surrogate pair cannot be encoded.
export const imageLink = (name) => "#/image/" + encodeURIComponent(name.replace(/[\ud800-\udfff]/gu, "\ufffd"));

// State and update as words with a colour, never the colour alone.
export function badges(image) {
    return [image.state === "damaged" ? element("span", { class: "badge danger" }, "damaged") : null,
        image["update-digest"] ? element("span", { class: "badge info" }, "update") : null,
        image.kept && image.kept.length ? element("span", { class: "badge" }, counted(image.kept.length, "earlier version")) : null];
}

// The rule that let an image in, in a word.
function rule(policy) {
    if (!policy) return "-";
    return element("span", { title: policy }, acceptsAnything(policy) ? "accepts anything" : policy);
}

export function imagesCard({ store, view, actions, changed }) {
    const images = store.images || [];
    const wanted = images.filter((image) => image.image.toLowerCase().includes(view.filter.toLowerCase()));
    const shown = wanted.slice(0, view.rows);
    const columns = [{ title: "Image" }, { title: "Version" }, { title: "Digest" }, { title: "Signatures" }, { title: "Compressed", class: "number optional" },
        { title: "Size", class: "number" }, { title: "Unique", class: "number" }, { title: "State" }, { title: "", class: "row-actions" }];
    const rows = shown.map((image) => ({ key: image.image, class: image.state === "damaged" ? "damaged" : null, cells: [
        element("a", { href: imageLink(image.image), class: "image-name" }, breakable(image.image)),
        image.version || "-",
        element("code", { title: image.digest || "" }, short(image.digest)),
        rule(image["signature-policy"]),
        bytes(image.size),
        bytes(image["disk-size"]),
        bytes(image["unique-size"]),
        element("span", { class: "badges" }, badges(image), image.state !== "damaged" && !image["update-digest"] ? "ok" : null),
        image["update-digest"] ? button("Update", () => actions.update([image]), { "aria-label": "Update " + image.image, key: "update" }) : null] }));
    const count = store.updates.length;
    return card("images", "Images", [
        button("Pull an image", () => actions.pull(), { class: "button primary", id: "pull" }),
        button("Check for updates", () => actions.check(), { id: "check" }),
        button(count > 0 ? `Update all (${count})` : "Update all", () => actions.update(store.updates), { id: "update-all", disabled: count === 0 }),
        button("Verify all", () => actions.verify([]), { id: "verify-all" }),
        button("Disk usage", () => actions.usage(), { id: "usage" }),
        button("Prune", () => actions.prune(), { id: "prune" })],
    store.imagesProblem ? element("p", { class: "problem", role: "alert" }, "The images cannot be read: " + store.imagesProblem) : null,
    images.length > 5 ? element("p", { class: "filter" }, element("label", { for: "filter" }, "Name contains "),
        element("input", { id: "filter", type: "search", value: view.filter, oninput: (event) => { view.filter = event.target.value; view.rows = firstRows; changed(); } }),
        element("span", { role: "status" }, ` ${wanted.length} of ${counted(images.length, "image")}`)) : null,
    images.length === 0 ? element("p", { class: "empty" }, store.about.RepositoryMode ? "No image is stored." :
        `There is no repository at ${store.about.RepositoryPath || "?"} yet. The first pull makes it.`) :
        table("Images", columns, rows),
    wanted.length > shown.length ? button(`Show ${Math.min(moreRows, wanted.length - shown.length)} more`, () => { view.rows += moreRows; changed(); }, { key: "more" }) : null);
}

export function newView() {
    return { filter: "", rows: firstRows };
}

// Layers that two images or more have: digest → {hue, size, images}, in the order in which they are first seen.
function sharedLayers(lists) {
    const users = new Map();
    for (const [name, { list }] of lists)
        for (const layer of list) {
            if (!users.has(layer.digest)) users.set(layer.digest, { size: layer.size, images: new Set() });
            users.get(layer.digest).images.add(name);
        }
    const shared = new Map();
    // The golden angle: neighbours in the list are far apart in colour.
    for (const [digest, user] of users) if (user.images.size > 1) shared.set(digest, { ...user, hue: Math.round(firstHue + shared.size * 222.492) % 360 });
    return shared;
}

function bar(name, list, shared, largest) {
    const total = list.reduce((sum, layer) => sum + layer.size, 0), common = list.filter((layer) => shared.has(layer.digest));
    const said = `${name}: ${counted(list.length, "layer")}, ${bytes(total)}; ${common.length} of them shared with other images, ` +
        bytes(common.reduce((sum, layer) => sum + layer.size, 0));
    return element("div", { class: "bar-row", key: name },
        element("a", { href: imageLink(name), class: "bar-name" }, breakable(name)),
        element("div", { class: "bar", role: "img", "aria-label": said, style: { "--part": String(largest ? total / largest : 0) } },
            list.map((layer, at) => element("span", { key: at + layer.digest, class: shared.has(layer.digest) ? "segment shared" : "segment",
                style: { "--grow": String(Math.max(layer.size, 1)), "--hue": String(shared.has(layer.digest) ? shared.get(layer.digest).hue : 0) },
                title: `${short(layer.digest)}, ${bytes(layer.size)}${shared.has(layer.digest) ? `, in ${shared.get(layer.digest).images.size} images` : ", in this image alone"}` }))),
        element("span", { class: "bar-size" }, bytes(total)));
}

export function layersCard({ store }) {
    const lists = [...store.layers].filter(([, { list }]) => list.length > 0);
    if (lists.length === 0) return null;
    const shared = sharedLayers(lists);
    const largest = Math.max(...lists.map(([, { list }]) => list.reduce((sum, layer) => sum + layer.size, 0)));
    const rows = [...shared].map(([digest, layer]) => ({ key: digest, cells: [
        [element("span", { class: "swatch", style: { "--hue": String(layer.hue) } }), element("code", { title: digest }, short(digest))],
        bytes(layer.size), element("ul", { class: "plain" }, [...layer.images].map((name) => element("li", {}, breakable(name))))] }));
    return card("layers", "Layers", null,
        element("p", { class: "legend" }, "One bar an image, as long as its compressed size. Parts with the same colour are the same layer; it is stored once. ",
            "Grey parts are in one image alone.", lists.length < (store.images || []).length ? ` The first ${lists.length} images are shown.` : ""),
        element("div", { class: "bars" }, lists.map(([name, { list }]) => bar(name, list, shared, largest))),
        rows.length ? element("details", { key: "shared-layers" }, element("summary", {}, `Shared layers (${rows.length})`),
            table("Shared layers", [{ title: "Layer" }, { title: "Size", class: "number" }, { title: "Images" }], rows)) : null);
}
