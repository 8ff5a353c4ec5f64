#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Logs in to Cockpit at ADDRESS in chromium, as a person does, opens the page of imaged, and does what the user may. tests/system runs it in the network
of the booted system: login.py ADDRESS USER PASSWORD administrator|plain IMAGE"""
import sys

import webdriver

DIALOG = "//dialog[@open]"


def log_in(browser, address, user, password, administrator):
    browser.open(address + "/imaged")
    browser.wait_text("body", "Log in")
    if administrator:
        # What the login page remembers of a user who had administrative access the last time.
        browser.run("localStorage.setItem('superuser:' + arguments[0], 'any')", user)
    browser.type("#login-user-input", user)
    browser.type("#login-password-input", password)
    browser.click("#login-button")
    browser.frame("iframe[name='cockpit1:localhost/imaged']")
    browser.wait("#images", 60)


def as_administrator(browser, image):
    browser.eventually(lambda: "Limited access" not in browser.text("#notices"), "administrative access is on")
    browser.press("Pull an image")
    browser.type("#reference", image)
    browser.press("Preview", DIALOG)
    browser.wait_text("dialog", "sha256:", "signature verified")
    browser.click(DIALOG + "//button[@type='submit']")
    browser.wait_text("#images", image, "accepts anything", timeout=60)
    browser.click("//button[starts-with(@aria-label, 'Journal of job')]")
    browser.wait_text(".journal", "starts: import " + image)
    print("an administrator pulls, and reads the journal of the job and which rule let the image in")


def as_plain_user(browser, image):
    browser.wait_text("#notices", "Limited access")
    browser.wait_text("#images", image, "accepts anything")
    browser.press("Check for updates")
    browser.wait_text("dialog", "You are not allowed", "administrative access")
    print("a plain user sees the images and which rule let them in, and is refused what changes them")


def main():
    address, user, password, kind, image = sys.argv[1:]
    browser = webdriver.Browser("--ignore-certificate-errors")
    try:
        browser.size(1280, 900)
        log_in(browser, address, user, password, kind == "administrator")
        (as_administrator if kind == "administrator" else as_plain_user)(browser, image)
    finally:
        browser.close()


if __name__ == "__main__":
    if None in webdriver.programs():
        print("SKIPPED: chromium and chromedriver are not here")
        sys.exit(77)
    main()
