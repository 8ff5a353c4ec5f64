// SPDX-License-Identifier: Apache-2.0
// imaged on the system bus: calls, signals, and whether it can be reached. See docs/dbus.md.

const cockpit = globalThis.cockpit;

export const name = "org.imaged1", root = "/org/imaged1", manager = "org.imaged1.Manager", job = "org.imaged1.Job";
const properties = "org.freedesktop.DBus.Properties";
const errors = "org.imaged1.Error.";
const firstPause = 500, longestPause = 5000, pulse = 5000; // milliseconds

// The value in VALUE, as cockpit.dbus gives it: {t, v} for each variant.
export function plain(value) {
    if (Array.isArray(value)) return value.map(plain);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.t === "string" && "v" in value && Object.keys(value).length === 2) return plain(value.v);
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}

// OPTIONS of a call as a{sv}: texts and booleans.
export function options(members) {
    const given = Object.entries(members).filter(([, value]) => value !== undefined);
    return Object.fromEntries(given.map(([key, value]) => [key, { t: typeof value === "boolean" ? "b" : "s", v: value }]));
}

// An error of the bus, of imaged, or of Cockpit itself. "kind" is the last part of imaged's error name ("NotAuthorized"), or "".
export class Failure extends Error {
    constructor(error) {
        super(error.message || error.problem || String(error.name || error));
        this.name = error.name || "";
        this.kind = this.name.startsWith(errors) ? this.name.slice(errors.length) : "";
        this.problem = error.problem || "";
    }

    get missing() {
        return this.name === "org.freedesktop.DBus.Error.ServiceUnknown" || this.name === "org.freedesktop.systemd1.NoSuchUnit" || this.problem === "not-found";
    }
}

// Events: "ready" (connected, also again), "lost" (detail: a Failure), "owner" (detail: whether imaged runs),
// "signal" (detail: {path, interface, member, values}).
export class Bus extends EventTarget {
    constructor() {
        super();
        this.client = null;
        this.monitor = null;
        this.pause = firstPause;
        // Cockpit 337 does not say that its bus has gone.
        setInterval(async () => {
            const client = this.client;
            if (client && document.visibilityState === "visible" && !(await this.alive()) && this.client === client) client.close("disconnected");
        }, pulse);
    }

    // Whether the bus itself answers; that wakes nobody up.
    async alive() {
        const monitor = this.monitor || cockpit.dbus("org.freedesktop.DBus", { bus: "system" });
        this.monitor = monitor;
        try {
            // A dead bus may give no answer at all.
            const silence = new Promise((_, reject) => setTimeout(reject, pulse));
            await Promise.race([monitor.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", [name], { type: "s" }), silence]);
            return true;
        } catch (error) {
            this.monitor = null;
            monitor.close();
            return false;
        }
    }

    // At once, where it would wait.
    retry() {
        if (this.client) this.tell("ready");
        else this.open();
    }

    open() {
        clearTimeout(this.timer);
        const client = cockpit.dbus(name, { bus: "system", superuser: "try" });
        this.client = client;
        client.addEventListener("close", (_, closed) => this.closed(client, closed));
        let before = null;
        client.addEventListener("owner", (_, owner) => {
            if (this.client !== client) return;
            // One may take the place of another.
            if (before && owner && before !== owner) this.tell("owner", false);
            before = owner;
            this.tell("owner", Boolean(owner));
        });
        const heard = (path, from, member, values) => {
            if (this.client === client) this.tell("signal", { path, interface: from, member, values: plain(values) });
        };
        client.subscribe({ interface: manager }, heard);
        client.subscribe({ interface: job }, heard);
        client.subscribe({ interface: properties, member: "PropertiesChanged" }, heard);
        this.tell("ready");
    }

    async closed(client, closed) {
        if (this.client !== client) return;
        this.client = null;
        const failure = new Failure({ problem: "disconnected", ...closed });
        // Without a bus nobody has a name.
        if (failure.missing && !(await this.alive())) this.tell("lost", new Failure({ problem: "disconnected" }));
        else this.tell("lost", failure);
        this.timer = setTimeout(() => this.open(), this.pause);
        this.pause = Math.min(this.pause * 2, longestPause);
    }

    tell(event, detail) {
        this.dispatchEvent(new CustomEvent(event, { detail }));
    }

    async call(method, signature, values, path = root, from = manager) {
        if (!this.client) throw new Failure({ problem: "disconnected", message: "the connection to the system bus is lost" });
        try {
            const answer = await this.client.call(path, from, method, values, { type: signature, flags: "i" });
            this.pause = firstPause;
            return plain(answer);
        } catch (error) {
            throw new Failure(error);
        }
    }

    async properties(path, from) {
        return (await this.call("GetAll", "s", [from], path, properties))[0];
    }
}
