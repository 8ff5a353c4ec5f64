// SPDX-License-Identifier: Apache-2.0
// A modal dialogue that goes through steps. The browser keeps the focus inside, and Escape closes it.
import { button, element, notice, show } from "./dom.js";

let count = 0;

export class Dialog {
    // CLOSED is called once, however it closes.
    constructor(title, closed = () => {}) {
        this.id = "dialog-" + ++count;
        this.opener = document.activeElement;
        this.title = element("h2", { id: this.id + "-title", tabindex: "-1" }, title);
        this.body = element("div", { class: "dialog-body" });
        this.foot = element("div", { class: "dialog-foot" });
        this.form = element("form", { onsubmit: (event) => { event.preventDefault(); if (this.submit) this.submit(); } }, this.body, this.foot);
        this.node = element("dialog", { class: "dialog", "aria-labelledby": this.id + "-title" }, this.title, this.form);
        this.node.addEventListener("close", () => {
            this.node.remove();
            closed();
            const opener = this.opener && this.opener.isConnected ? this.opener : document.getElementById("main");
            opener.focus();
        });
        document.body.append(this.node);
        this.node.showModal();
    }

    get open() { return this.node.open; }

    close() { this.node.close(); }

    // Shows BODY and, beside Cancel (or CLOSE), a button that submits: {text, danger, run}.
    step(body, action, close = "Cancel") {
        show(this.body, body);
        this.submit = action ? () => this.run(action) : null;
        show(this.foot, action && element("button", { type: "submit", class: "button " + (action.danger ? "danger" : "primary"), key: "submit",
            disabled: action.disabled }, action.text), button(close, () => this.close(), { key: "close" }));
        const first = this.body.querySelector("input:not([type=checkbox])");
        (first || this.title).focus();
    }

    // Only what has moved on.
    renew(body) {
        if (this.open) show(this.body, body);
    }

    // Runs an action; shows its error in the dialogue, which stays open.
    async run(action) {
        if (this.busy) return;
        this.busy = true;
        for (const node of this.foot.querySelectorAll("[type=submit]")) node.disabled = true;
        this.body.querySelectorAll("[data-key=failure]").forEach((node) => node.remove());
        try {
            await action.run();
        } catch (error) {
            if (this.open) this.failed(error);
        }
        this.busy = false;
        for (const node of this.foot.querySelectorAll("[type=submit]")) node.disabled = false;
    }

    failed(error) {
        const place = element("div", { key: "failure", role: "alert" }, failure(error));
        this.body.append(place);
        place.scrollIntoView({ block: "nearest" });
    }
}

// What went wrong, for people.
export function failure(error, title = titles[error.kind] || (error.missing ? "imaged is not installed on this host, or cannot be started" : "This did not work")) {
    return notice("danger", title, element("p", {}, error.message),
        error.kind === "NotAuthorized" ? element("p", {}, "Turn on administrative access at the top of Cockpit, then try again.") : null);
}

const titles = {
    NotAuthorized: "You are not allowed to do this",
    PolicyRejected: "The containers policy rejects this image",
    SourceUnreachable: "The registry cannot be reached",
    SourceDenied: "The registry denies access",
    NotFound: "Not found",
    InvalidReference: "This is no name of an image",
    DigestMismatch: "The registry has another image now",
    NoSpace: "There is not enough room",
    Cancelled: "Cancelled",
    Stopped: "imaged has stopped",
};
