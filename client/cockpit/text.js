// SPDX-License-Identifier: Apache-2.0
// Text for people: numbers with units, and nothing that is not seen. Pure functions.

// The characters of lib/base/printable.cpp: controls, bidirectional controls, and others that have no width of their own.
const hidden = new RegExp("[" + [
    "\\u{0}-\\u{1f}", "\\u{7f}-\\u{9f}", "\\u{ad}", "\\u{34f}", "\\u{61c}", "\\u{115f}-\\u{1160}", "\\u{17b4}-\\u{17b5}",
    "\\u{180b}-\\u{180f}", "\\u{200b}-\\u{200f}", "\\u{2028}-\\u{202e}", "\\u{2060}-\\u{206f}", "\\u{3164}",
    "\\u{fe00}-\\u{fe0f}", "\\u{feff}", "\\u{ffa0}", "\\u{fff0}-\\u{fffb}", "\\u{1bca0}-\\u{1bca3}",
    "\\u{1d173}-\\u{1d17a}", "\\u{e0000}-\\u{e00ff}", "\\u{e0100}-\\u{e0fff}", "\\u{d800}-\\u{dfff}",
].join("") + "]", "gu");

// Characters of one text that the page shows. An image may say megabytes of itself, which keep a browser busy.
const most = 4000;

// The beginning of TEXT, if it is long.
export function shortened(text) {
    const whole = String(text);
    return whole.length <= most ? whole : `${whole.slice(0, most).replace(/[\ud800-\udbff]$/, "")}… (${whole.length} characters)`;
}

// TEXT with such characters as \xNN or \u{NNNN}, as imagectl shows them.
export function printable(text) {
    return String(text).replace(hidden, (character) => {
        const code = character.codePointAt(0);
        const digits = code.toString(16);
        return code < 0x80 ? "\\x" + digits.padStart(2, "0") : "\\u{" + digits.padStart(4, "0") + "}";
    });
}

// "0 B", "999 B", "1.0 kB", "12.3 MB": powers of 1000. "-" for what is no number.
export function bytes(count) {
    if (typeof count !== "number" || !(count >= 0)) return "-";
    if (count < 1000) return count + " B";
    const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let value = count / 1000, unit = 0;
    // 999.95 would be shown as 1000.0
    for (; value >= 999.95 && unit + 1 < units.length; unit++) value /= 1000;
    return value.toFixed(1) + " " + units[unit];
}

// "4 s", "2 min 5 s", "3 h 7 min", "12 d"; rounds up, so that "0 s" is only said of nothing.
export function duration(seconds) {
    if (!(seconds >= 0) || seconds > 1e9) return "-";
    const whole = Math.ceil(seconds);
    if (whole < 60) return whole + " s";
    if (whole < 3600) return Math.floor(whole / 60) + " min " + whole % 60 + " s";
    if (whole < 86400) return Math.floor(whole / 3600) + " h " + Math.floor(whole % 3600 / 60) + " min";
    return Math.floor(whole / 86400) + " d";
}

// "2024-05-06 07:08:09" in the browser's time zone; "-" for what no calendar holds.
export function time(secondsSince1970) {
    const date = new Date(secondsSince1970 * 1000);
    if (typeof secondsSince1970 !== "number" || Number.isNaN(date.getTime())) return "-";
    const two = (number) => String(number).padStart(2, "0");
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
        `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

// "1 layer", "2 layers"
export function counted(count, one, many = one + "s") {
    return count + " " + (count === 1 ? one : many);
}

// The first twelve digits of a digest or a checksum.
export function short(digest) {
    if (typeof digest !== "string" || digest === "") return "-";
    const at = digest.indexOf(":");
    return digest.slice(at + 1, at + 13);
}

const transports = ["docker:", "registry:", "oci:", "oci-archive:", "docker-archive:", "dir:", "containers-storage:", "docker-daemon:"];

// The reference that imagectl takes NAME for: one without a transport is of a registry, without a registry of docker.io.
export function reference(name) {
    const image = name.trim();
    for (const start of ["docker:", "registry:"])
        if (image.startsWith(start) && image.length > start.length && !/[/:]/.test(image.slice(start.length)))
            return "docker://docker.io/library/" + image;
    if (image === "" || /^(ostree-|sha256:|[/.])/.test(image) || image.includes("://") || transports.some((start) => image.startsWith(start)))
        return image;
    const slash = image.indexOf("/");
    if (slash < 0) return "docker://docker.io/library/" + image;
    const host = image.slice(0, slash);
    return (/[.:]/.test(host) || host === "localhost" ? "docker://" : "docker://docker.io/") + image;
}

// Whether the rules in POLICY demand nothing.
export function acceptsAnything(policy) {
    return rulesOf(policy).every((rule) => rule === "insecureAcceptAnything");
}

const rulesOf = (policy) => policy.split(" (")[0].split("+");

// What the rule that decided about signatures proves of an image: a sentence, and whether anything was signed.
export function proof(policy) {
    const signing = ["signedBy", "sigstoreSigned"];
    if (!policy) return { signed: false, text: "imaged did not report which rule of the containers policy applies." };
    if (acceptsAnything(policy))
        return { signed: false, text: "No signature is required: the containers policy accepts anything here. The digest proves that the content " +
            "is what the registry named, not who made it." };
    if (!policy.startsWith("keys of the OSTree remote ") && !rulesOf(policy).some((rule) => signing.includes(rule)))
        return { signed: false, text: "This page does not know what the rule proves." };
    return { signed: true, text: "The containers policy demands a signature, and the image with this digest has passed. It proves that an owner of the " +
        "accepted key signed it." };
}
