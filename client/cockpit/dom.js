// SPDX-License-Identifier: Apache-2.0
// Makes elements and brings what is on the page up to date. Every text goes through printable() and becomes a text node: nothing of an image or a
// registry is ever taken for markup.
import { printable, shortened } from "./text.js";

const read = /^(title|aria-)/; // attributes that people read; others have to be whole
const handlers = ["onclick", "oninput", "onchange", "onsubmit", "ontoggle", "onkeydown"];

// An element with ATTRIBUTES (those that are null or false are left out, functions are handlers, "style" sets properties, "key" is for show()) and CHILDREN:
// nodes, texts, arrays of them; null and false are left out.
export function element(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
        if (value === null || value === undefined || value === false) continue;
        if (typeof value === "function") node[key] = value;
        else if (key === "style") for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
        else node.setAttribute(key === "key" ? "data-key" : key, value === true ? "" : printable(read.test(key) ? shortened(value) : value));
    }
    append(node, children);
    return node;
}

function append(node, children) {
    for (const child of children.flat(Infinity)) {
        if (child === null || child === undefined || child === false || child === "") continue;
        node.append(child instanceof Node ? child : document.createTextNode(printable(shortened(child))));
    }
}

// Text of several lines, in which line feeds stay.
export function lines(text) {
    return shortened(text).split("\n").map((line, at) => [at > 0 ? document.createTextNode("\n") : null, line]);
}

// A name or an address, which breaks behind a slash where it has to, rather than inside a word.
export function breakable(text) {
    return (shortened(text).match(/[^/]+\/*|\/+/g) || []).map((part, at) => [at > 0 ? document.createElement("wbr") : null, part]);
}

// Makes the children of PARENT what NODES are. Elements that are there already stay, with focus, selection and what was typed; "key" tells which is which.
export function show(parent, ...nodes) {
    const fresh = element("div", {}, nodes);
    update(parent, [...fresh.childNodes]);
}

function update(parent, wanted) {
    const keyed = new Map();
    for (const child of parent.children) if (child.getAttribute("data-key")) keyed.set(child.getAttribute("data-key"), child);
    let place = parent.firstChild;
    for (const node of wanted) {
        const key = node instanceof Element ? node.getAttribute("data-key") : null;
        const old = key ? keyed.get(key) : place;
        if (old && alike(old, node) && (key || !(old instanceof Element) || !old.getAttribute("data-key"))) {
            if (old === place) place = place.nextSibling;
            else parent.insertBefore(old, place);
            renew(old, node);
        } else {
            parent.insertBefore(node, place);
        }
    }
    while (place) {
        const next = place.nextSibling;
        place.remove();
        place = next;
    }
}

function alike(old, node) {
    return old.nodeType === node.nodeType && old.nodeName === node.nodeName;
}

function renew(old, node) {
    if (!(old instanceof Element)) {
        if (old.data !== node.data) old.data = node.data;
        return;
    }
    // What the user opened stays open. A style goes property by property: the policy of content forbids it as an attribute.
    const kept = (name) => (name === "open" && old.nodeName === "DETAILS") || name === "style";
    for (const { name } of [...old.attributes]) if (!node.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
    for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
    for (const name of handlers) if (old[name] !== node[name]) old[name] = node[name];
    for (const property of node.style) old.style.setProperty(property, node.style.getPropertyValue(property));
    update(old, [...node.childNodes]);
}

// A call of WORK soon, however often it is asked for meanwhile.
export function soon(work, milliseconds = 50) {
    let timer = null;
    return () => {
        if (timer === null) timer = setTimeout(() => { timer = null; work(); }, milliseconds);
    };
}

// Read out by screen readers.
export function announce(text) {
    const place = document.getElementById("announcements");
    const line = element("p", {}, text);
    place.append(line);
    while (place.children.length > 5) place.firstChild.remove();
}

export function button(text, onclick, attributes = {}) {
    return element("button", { type: "button", class: "button", onclick, ...attributes }, text);
}

// A table that becomes a list of cards on a narrow screen. COLUMNS: {title, class}; ROWS: {key, cells}.
export function table(label, columns, rows) {
    const cells = (row) => row.cells.map((cell, at) =>
        element(at === 0 ? "th" : "td", { role: at === 0 ? "rowheader" : "cell", scope: at === 0 ? "row" : null, class: columns[at].class || null,
            "data-label": columns[at].title, "data-empty": cell === "-" || cell === null || (Array.isArray(cell) && cell.length === 0) },
        element("div", { class: "cell" }, cell)));
    return element("table", { role: "table", "aria-label": label },
        element("thead", { role: "rowgroup" }, element("tr", { role: "row" },
            columns.map((column) => element("th", { role: "columnheader", scope: "col", class: column.class || null },
                column.title, column.title ? null : element("span", { class: "for-readers" }, "Actions"))))),
        element("tbody", { role: "rowgroup" }, rows.map((row) => element("tr", { role: "row", key: row.key, class: row.class || null }, cells(row)))));
}

// A list of names and values; pairs whose value is null or "" are left out.
export function fields(pairs) {
    const given = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
    return element("dl", { class: "fields" }, given.map(([name, value]) => element("div", { key: name }, element("dt", {}, name), element("dd", {}, value))));
}

// KIND: "info", "warning", "danger" or "success". Its title comes first for screen readers too.
export function notice(kind, title, ...more) {
    const names = { info: "Note", warning: "Warning", danger: "Problem", success: "Success" };
    return element("div", { class: "notice " + kind, key: title },
        element("p", { class: "notice-title" }, element("span", { class: "for-readers" }, names[kind] + ": "), title), more);
}

// What MAKE makes; where it fails, because imaged is of another version than the page, what cannot be shown: everything else stays.
export function guarded(key, what, make) {
    try {
        return make();
    } catch (error) {
        return element("div", { key }, notice("danger", what + " cannot be shown", element("p", {}, "imaged sent it in a form that this page does not support: " + error.message)));
    }
}

export function card(id, title, actions, ...children) {
    return element("section", { class: "card", id, key: id, "aria-labelledby": id + "-title" },
        element("div", { class: "card-head" }, element("h2", { id: id + "-title" }, title), element("div", { class: "actions" }, actions)), children);
}
