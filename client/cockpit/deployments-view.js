// SPDX-License-Identifier: Apache-2.0
// The OSTree deployments of the host, and the image that each runs.
import { breakable, card, element, table } from "./dom.js";
import { imageLink } from "./images-view.js";
import { short } from "./text.js";

const states = ["booted", "pending", "rollback", "staged", "pinned"];

function image(deployment, store) {
    const stored = [...(deployment["stored-as"] || []), ...(deployment["kept-of"] || [])];
    const name = deployment.image || stored[0];
    if (!name) return deployment.refspec ? ["no image, follows ", element("code", {}, deployment.refspec)] : "no image";
    return [store.image(name) ? element("a", { href: imageLink(name) }, breakable(name)) : breakable(name),
        deployment.reference && deployment.reference !== name ? element("div", { class: "small" }, "follows ", element("code", {}, breakable(deployment.reference))) : null,
        (deployment["kept-of"] || []).length ? element("div", { class: "small" }, "an earlier version of ", breakable(deployment["kept-of"].join(", "))) : null];
}

export function deploymentsCard({ store }) {
    const rows = store.deployments.map((deployment) => ({ key: `${deployment.checksum}.${deployment.serial}`, cells: [
        element("code", { title: deployment.checksum }, `${short(deployment.checksum)}.${deployment.serial}`),
        deployment.stateroot,
        states.filter((state) => deployment[state]).map((state) => element("span", { class: "badge " + (state === "booted" ? "success" : "") }, state)),
        [image(deployment, store), deployment.error ? element("div", { class: "problem" }, deployment.error) : null],
        element("code", { title: deployment.digest || "" }, short(deployment.digest)),
        deployment.version || "-"] }));
    return card("deployments", "Deployments", null,
        store.deploymentsProblem ? element("p", { class: "problem", role: "alert" }, "The deployments cannot be read: " + store.deploymentsProblem) : null,
        rows.length ? table("Deployments", [{ title: "Deployment" }, { title: "System" }, { title: "State" }, { title: "Image" }, { title: "Digest" }, { title: "Version" }], rows) :
            element("p", { class: "empty" }, "This host was not booted from OSTree: it has no deployments."));
}
