// SPDX-License-Identifier: Apache-2.0
// The actions that change something: each asks first, and shows what it would do if imaged knows it.
import { manager, options } from "./bus.js";
import { Dialog, failure } from "./dialog.js";
import { announce, breakable, element, fields, notice } from "./dom.js";
import { imageLink } from "./images-view.js";
import { progress } from "./jobs-view.js";
import { changes, preview, policy, pruned, usage, verified } from "./outcomes.js";
import { bytes, counted, reference, short } from "./text.js";

// A call that imaged may refuse where nobody is authorised; a person is in front.
const asked = (members = {}) => options({ ...members, interactive: true });
// Where an image is fetched from; "archive" is no such place.
const sourceOf = (image) => image.source || image.image;

export class Actions {
    constructor(context) {
        Object.assign(this, context); // bus, jobs, store
    }

    // Runs a job in DIALOG, with its progress, and the possibility to cancel it by closing.
    async inDialog(dialog, text, method, signature, values, subject) {
        let job = null;
        const draw = () => dialog.renew([element("p", { key: "doing" }, text), job ? progress(job) : element("p", {}, "Asking imaged…")]);
        // Also of a job that imaged has made meanwhile.
        const closed = () => { if (job && !job.ended) this.jobs.cancel(job).catch(() => {}); };
        dialog.node.addEventListener("close", closed);
        this.jobs.addEventListener("changed", draw);
        draw();
        try {
            return await this.jobs.run(method, signature, values, subject, (started) => {
                job = started;
                job.inDialog = true;
                draw();
                if (!dialog.open) closed();
            });
        } catch (error) {
            dialog.renew([]); // It goes on no longer.
            throw error;
        } finally {
            this.jobs.removeEventListener("changed", draw);
            dialog.node.removeEventListener("close", closed);
            if (job) this.jobs.dismiss(job);
        }
    }

    // Starts a job and leaves it to the list of jobs.
    async leave(dialog, method, signature, values, subject) {
        const job = await this.jobs.start(method, signature, values, subject);
        dialog.close();
        return job;
    }

    pull(name = "") {
        const dialog = new Dialog("Pull an image");
        const ask = () => dialog.step([
            element("label", { for: "reference" }, "Name of the image"),
            element("input", { id: "reference", type: "text", value: name, autocomplete: "off", spellcheck: "false", "aria-describedby": "reference-help" }),
            element("p", { id: "reference-help", class: "small" }, "For instance quay.io/example/host:stable. A name without a registry is taken from docker.io. ",
                "Nothing is stored before you have seen what it costs and what its signature proves.")],
        { text: "Preview", run: look });
        const look = async () => {
            name = document.getElementById("reference").value;
            const image = reference(name);
            if (image === "") throw { message: "Give the name of an image.", kind: "InvalidReference" };
            let outcome;
            try {
                outcome = await this.inDialog(dialog, `Asking the registry about ${image}…`, "Prepare", "sa{sv}", [image, asked()], [image]);
            } catch (error) {
                if (dialog.open) ask();
                throw error;
            }
            if (dialog.open) confirm(image, outcome);
        };
        const confirm = (image, outcome) => dialog.step([
            outcome["up-to-date"] ? notice("info", "The image is here already, with this digest.") : null, preview(outcome)],
        outcome["up-to-date"] ? null : { text: `Pull ${bytes(outcome["bytes-to-fetch"])}`, run: () => this.leave(dialog, "ImportImage", "sa{sv}",
            [image, asked({ digest: outcome.digest })], [image]) }, outcome["up-to-date"] ? "Close" : "Cancel");
        ask();
    }

    async check() {
        await this.attempt(() => this.jobs.start("CheckImages", "asa{sv}", [[], asked()], []));
    }

    // Shows what each update costs and which rule let it pass, then pulls those very manifests.
    async update(images) {
        const dialog = new Dialog(images.length === 1 ? "Update" : `Update ${images.length} images`);
        const prepared = [], failed = [];
        dialog.step([element("p", {}, "Asking the registries…")], null);
        for (const [at, image] of images.entries()) {
            if (!dialog.open) return;
            try {
                const outcome = await this.inDialog(dialog, `Image ${at + 1} of ${images.length}: ${image.image}`, "Prepare", "sa{sv}", [sourceOf(image), asked()], [image.image]);
                if (!outcome["up-to-date"]) prepared.push({ image, outcome });
            } catch (error) {
                failed.push({ image, error });
            }
        }
        if (!dialog.open) return;
        const total = prepared.reduce((sum, { outcome }) => sum + outcome["bytes-to-fetch"], 0);
        const shown = prepared.map(({ image, outcome }) => element("section", { key: image.image, class: "update", "aria-label": image.image },
            element("h3", {}, breakable(image.image)), fields([["Version", `${image.version || short(image.digest)} → ${outcome.version || short(outcome.digest)}`],
                ["Digest", element("code", {}, outcome.digest)], ["To fetch", `${bytes(outcome["bytes-to-fetch"])}, ${counted(outcome["layers-missing"], "layer")}`]]),
            policy(outcome["signature-policy"])));
        const refused = failed.map(({ image, error }) => failure(error, `${image.image} cannot be updated`));
        if (prepared.length === 0 && failed.length === 0) refused.push(notice("info", "There is nothing to update any more."));
        dialog.step([shown, refused], prepared.length === 0 ? null : { text: `Update: ${bytes(total)}`, run: async () => {
            for (const { image, outcome } of prepared) {
                const target = image.source ? image.image : undefined;
                await this.jobs.start("ImportImage", "sa{sv}", [sourceOf(image), asked({ digest: outcome.digest, target })], [image.image]);
            }
            dialog.close();
        } }, prepared.length === 0 ? "Close" : "Cancel");
    }

    // Packages, kernels and files of /etc: of the update, or since an earlier version.
    async changes(image, kept = null) {
        const dialog = new Dialog(kept ? `Since ${kept.version || short(kept.digest)}` : "What the update brings");
        dialog.step([element("p", {}, "Comparing…")], null, "Close");
        await dialog.run({ run: async () => {
            const wanted = kept ? { digest: kept.digest } : { update: true };
            const outcome = await this.inDialog(dialog, "Reading the package databases of both versions…", "Changes", "sa{sv}", [image.image, asked(wanted)], [image.image]);
            if (dialog.open) dialog.step(changes(outcome), null, "Close");
        } });
    }

    verify(names) {
        const dialog = new Dialog(names.length ? "Verify " + names[0] : "Verify all images");
        dialog.step([element("p", {}, "Checks every file of ", names.length ? "the image" : "all images", " against its checksum, and merges the layers again. ",
            "This reads everything once and changes nothing.")],
        { text: "Verify", run: async () => {
            const outcome = await this.inDialog(dialog, "Verifying…", "Verify", "asa{sv}", [names, asked()], names);
            if (dialog.open) this.found(dialog, names, outcome);
        } });
    }

    // What a verification found; offers the repair where there is something to repair.
    found(dialog, names, outcome) {
        announce(outcome.sound ? "No problems found" : "Problems were found");
        const repairable = !outcome.sound || (outcome.unverified || []).length > 0;
        dialog.step(verified(outcome), repairable ? { text: "Repair", run: () => this.runRepair(dialog, names) } : null, "Close");
    }

    repair(names) {
        const dialog = new Dialog("Repair " + names[0]);
        dialog.step([element("p", {}, "Fetches the damaged layers from the image's source again, and merges the image again.")], { text: "Repair", run: () => this.runRepair(dialog, names) });
    }

    async runRepair(dialog, names) {
        const outcome = await this.inDialog(dialog, "Repairing…", "Verify", "asa{sv}", [names, asked({ repair: true })], names);
        if (!dialog.open) return;
        announce(outcome.sound ? "Repaired" : "Problems are left");
        dialog.step(verified(outcome), null, "Close");
    }

    remove(image) {
        const dialog = new Dialog("Remove an image");
        const running = this.store.deployments.filter((deployment) => (deployment["stored-as"] || []).includes(image.image));
        dialog.step([element("p", {}, "Remove ", element("strong", {}, image.image), " from the repository?"),
            image.kept && image.kept.length ? element("p", {}, `${counted(image.kept.length, "earlier version")} of it will be removed too.`) : null,
            running.length ? notice("warning", `${counted(running.length, "deployment")} of this host came from it`, element("p", {}, "Deployments keep their files and go on running.")) : null,
            element("p", { class: "small" }, "The room comes free when you prune.")],
        { text: "Remove", danger: true, run: async () => {
            const job = await this.leave(dialog, "Remove", "asa{sv}", [[image.image], asked()], [image.image]);
            job.end.then(() => { if (job.result === "success" && location.hash === imageLink(image.image)) location.hash = "#/"; });
        } });
    }

    rollback(image, kept) {
        const dialog = new Dialog("Roll back");
        dialog.step([element("p", {}, "Make this version of ", element("strong", {}, image.image), " the current one again?"),
            fields([["Now", image.version || short(image.digest)], ["Then", kept.version || short(kept.digest)], ["Digest", element("code", {}, kept.digest)]]),
            element("p", { class: "small" }, "Nothing is fetched. The version that is current now is kept, and is listed as an update.")],
        { text: "Roll back", run: () => this.leave(dialog, "Rollback", "sa{sv}", [image.image, asked({ digest: kept.digest })], [image.image]) });
    }

    // A dry run first; nothing goes before its result is confirmed.
    async prune() {
        const dialog = new Dialog("Prune");
        dialog.step([element("p", {}, "Finding out what no image, no earlier version and no deployment uses…")], null);
        await dialog.run({ run: async () => {
            const outcome = await this.inDialog(dialog, "Looking; nothing is removed.", "Prune", "a{sv}", [asked({ "dry-run": true })], []);
            if (!dialog.open) return;
            const nothing = !outcome.objects && !(outcome["layers-dropped"] || []).length && !outcome.bytes;
            dialog.step([element("p", {}, nothing ? "There is nothing to remove." : "This would be removed:"), pruned(outcome)],
                nothing ? null : { text: `Remove, and free ${bytes(outcome.bytes)}`, danger: true, run: () => this.leave(dialog, "Prune", "a{sv}", [asked()], []) },
                nothing ? "Close" : "Cancel");
        } });
    }

    // Counts; the list of images has the sizes from then on.
    async usage() {
        const dialog = new Dialog("Disk usage");
        dialog.step([], null, "Close");
        await dialog.run({ run: async () => {
            const outcome = await this.inDialog(dialog, "Counting what is stored; nothing is changed.", "DiskUsage", "a{sv}", [asked()], []);
            if (dialog.open) dialog.step(usage(outcome), null, "Close");
        } });
    }

    // Runs an action that has no dialogue; shows its error in a new one.
    async attempt(work) {
        try {
            await work();
        } catch (error) {
            new Dialog("This did not work").step([failure(error)], null, "Close");
        }
    }
}
