// SPDX-License-Identifier: Apache-2.0
// The page: what is shown where, and when.
import { Actions } from "./actions.js";
import { Bus } from "./bus.js";
import { deploymentsCard } from "./deployments-view.js";
import { breadcrumb, Details, detailsView } from "./details-view.js";
import { announce, button, element, guarded, notice, show, soon } from "./dom.js";
import { imagesCard, layersCard, newView } from "./images-view.js";
import { doing, jobsCard, title } from "./jobs-view.js";
import { Jobs } from "./jobs.js";
import { Journals } from "./journal.js";
import { Store } from "./store.js";
import { followTheme } from "./theme.js";

followTheme();

const bus = new Bus(), jobs = new Jobs(bus), store = new Store(bus);
const drawSoon = soon(draw), drawJobsSoon = soon(drawJobs, 200);
const journals = new Journals(drawJobsSoon);
const actions = new Actions({ bus, jobs, store });
const details = new Details(bus, store, drawSoon);
const permission = globalThis.cockpit.permission({ admin: true });
const context = { bus, jobs, store, journals, actions, details, view: newView(), changed: drawSoon, attempt: (work) => actions.attempt(work) };
const main = document.getElementById("main"), notices = document.getElementById("notices");

// The image whose details the address names, or null.
function openImage() {
    const match = /^#\/image\/(.+)$/.exec(location.hash);
    try {
        return match ? decodeURIComponent(match[1]) : null;
    } catch (error) {
        return null;
    }
}

function connectionNotice() {
    const again = button("Try again", () => bus.retry(), { id: "again" });
    switch (store.connection) {
        case "missing": return notice("danger", "imaged is not installed on this host, or cannot be started", element("p", {}, "The bus has no service org.imaged1 (", store.problem, "). ",
            "“apt install imaged” installs it; “systemctl status imaged” says why it does not start."), again);
        case "denied": return notice("danger", "imaged may not be asked", element("p", {}, store.problem), again);
        case "failed": return notice("danger", "imaged does not answer", element("p", {}, store.problem), element("p", {}, "“journalctl -u imaged” says why."), again);
        case "lost": return notice("danger", "The connection to the system bus is lost", element("p", {}, `Cockpit says: ${store.problem}. `,
            "The page tries to connect again by itself; what it shows is as it was before. ",
            "If the bus is back and this stays, log out of Cockpit and in again."));
        default: return null;
    }
}

function drawNotices() {
    const about = store.about;
    const readable = store.connection === "ready";
    show(notices, element("div", { role: "alert", key: "connection" }, connectionNotice()),
        readable && permission.allowed === false ? notice("info", "Limited access", element("p", {}, "You can look at everything. Changes need administrative access, which you turn on ",
            "at the top of Cockpit, or a rule of polkit that allows them to you.")) : null,
        readable && about.ConfigurationError ? notice("warning", "imaged has not taken its configuration", element("p", {}, about.ConfigurationError)) : null);
}

function about() {
    const { RepositoryPath: path, RepositoryMode: mode, Version: version } = store.about;
    return element("p", { class: "about", key: "about" }, element("span", {}, "Repository ", element("code", {}, path || "?"), mode ? ` (${mode})` : ""),
        element("span", {}, "imaged ", version || "?"), element("span", {}, store.running ? "running" : "idle; the next call starts it"));
}

function draw() {
    drawNotices();
    if (!store.about.Version) {
        if (store.connection !== "connecting") {
            show(main, element("h1", { key: "title" }, "System images"));
            main.removeAttribute("aria-busy");
        }
        return;
    }
    main.removeAttribute("aria-busy");
    const image = openImage();
    details.open(image);
    const place = element("div", { id: "jobs-place", key: "jobs-place" }, guarded("jobs", "The list of jobs", () => jobsCard(context, image)));
    if (image === null)
        show(main, element("h1", { key: "title" }, "System images"), about(), place, element("div", { class: "columns", key: "columns" },
            guarded("images", "The list of images", () => imagesCard(context)), element("div", { class: "column", key: "side" },
                guarded("layers", "The picture of layers", () => layersCard(context)), guarded("deployments", "The list of deployments", () => deploymentsCard(context)))));
    else
        show(main, element("h1", { key: "title" }, "System images"), breadcrumb(image), place, element("div", { class: "details", key: "details-" + image }, guarded("problem", "This image", () => detailsView(context))));
}

function drawJobs() {
    const place = document.getElementById("jobs-place");
    if (place) show(place, guarded("jobs", "The list of jobs", () => jobsCard(context, openImage())));
}

store.addEventListener("changed", drawSoon);
jobs.addEventListener("changed", drawJobsSoon);
jobs.addEventListener("ended", ({ detail }) => { if (detail.kind) announce(`${title(detail)}: ${doing(detail)}`); });
bus.addEventListener("ready", () => jobs.load().catch(() => {}));
permission.addEventListener("changed", drawSoon);
window.addEventListener("hashchange", () => { drawSoon(); main.focus(); window.scrollTo(0, 0); });
// The rate and what remains change while no signal comes.
setInterval(() => { if (jobs.running.length) drawJobsSoon(); }, 1000);
bus.open();
