// SPDX-License-Identifier: Apache-2.0
// The stored images, as imaged lists them: read again when imaged signals a change.
import { manager } from "./bus.js";
import { soon } from "./dom.js";

const layerLists = 40; // images whose layers are drawn

// Events: "changed".
export class Store extends EventTarget {
    constructor(bus) {
        super();
        this.bus = bus;
        // "connecting", "ready", "missing", "denied", "lost"
        Object.assign(this, { connection: "connecting", problem: "", running: false, about: {}, images: null, imagesProblem: "", deployments: [],
            deploymentsProblem: "", layers: new Map() });
        this.readSoon = soon(() => this.read(), 150);
        this.reading = null;
        bus.addEventListener("signal", ({ detail }) => this.heard(detail));
        bus.addEventListener("ready", () => this.readSoon());
        bus.addEventListener("lost", ({ detail }) => this.set({ connection: detail.missing ? "missing" : "lost", problem: detail.message, running: false }));
        bus.addEventListener("owner", ({ detail }) => {
            // It leaves when it has nothing to do; asking at once would start it again.
            if (detail && !this.running) this.readSoon();
            this.set({ running: detail });
        });
    }

    set(members) {
        Object.assign(this, members);
        this.dispatchEvent(new CustomEvent("changed"));
    }

    heard({ interface: from, member, values }) {
        if (from === manager && ["ImageChanged", "UpdateFound", "JobRemoved"].includes(member)) this.readSoon();
        if (member === "PropertiesChanged" && values[0] === manager) this.readSoon();
    }

    image(name) {
        return (this.images || []).find((image) => image.image === name);
    }

    get updates() {
        return (this.images || []).filter((image) => image["update-digest"]);
    }

    async read() {
        if (this.reading) {
            this.again = true;
            return this.reading;
        }
        this.reading = this.readAll();
        await this.reading;
        this.reading = null;
        if (this.again) {
            this.again = false;
            this.readSoon();
        }
    }

    async readAll() {
        try {
            const about = await this.bus.properties("/org/imaged1", manager);
            this.set({ about, connection: "ready", problem: "", running: true });
        } catch (error) {
            if (error.problem === "disconnected" || error.problem === "terminated") return;
            const denied = error.name === "org.freedesktop.DBus.Error.AccessDenied" || error.problem === "access-denied";
            this.set({ connection: error.missing ? "missing" : denied ? "denied" : "failed", problem: error.message });
            return;
        }
        await this.part("images", "imagesProblem", async () => JSON.parse((await this.bus.call("DescribeImages", "a{sv}", [{}]))[0]).images);
        await this.part("deployments", "deploymentsProblem", async () => (await this.bus.call("ListDeployments", "a{sv}", [{}]))[0]);
        await this.readLayers();
    }

    async part(member, problem, read) {
        try {
            this.set({ [member]: await read(), [problem]: "" });
        } catch (error) {
            this.set({ [problem]: error.message });
        }
    }

    // The layers of the first images; those of an image that has not changed are known.
    async readLayers() {
        const images = (this.images || []).slice(0, layerLists);
        const names = new Set(images.map((image) => image.image));
        for (const name of this.layers.keys()) if (!names.has(name)) this.layers.delete(name);
        for (const image of images) {
            const known = this.layers.get(image.image);
            if (known && known.digest === image.digest && known.state === image.state) continue;
            try {
                const [described] = await this.bus.call("GetImage", "s", [image.image]);
                this.layers.set(image.image, { digest: image.digest, state: image.state, list: described["layer-list"] || [] });
            } catch (error) {
                this.layers.set(image.image, { digest: image.digest, state: image.state, list: [] });
            }
        }
        this.set({});
    }
}
