// SPDX-License-Identifier: Apache-2.0
// Light or dark, as chosen in Cockpit's session menu; "auto" means as the browser says.

const browser = window.matchMedia("(prefers-color-scheme: dark)");

function apply(chosen) {
    const style = chosen || localStorage.getItem("shell:style") || "auto";
    document.documentElement.classList.toggle("dark", style === "dark" || (style === "auto" && browser.matches));
}

export function followTheme() {
    window.addEventListener("storage", (event) => { if (event.key === "shell:style") apply(); });
    window.addEventListener("cockpit-style", (event) => apply(event.detail && event.detail.style));
    browser.addEventListener("change", () => apply());
    apply();
}
