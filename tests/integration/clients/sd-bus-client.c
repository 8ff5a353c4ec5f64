/* SPDX-License-Identifier: Apache-2.0
 * What a C program does with libsystemd's sd-bus: sd-bus-client ADDRESS IMAGE ARCHIVE AUTHFILE */
#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

typedef struct {
    char *result, *error_name;
    bool progress;
} End;

static void keep(char **where, const char *text) {
    free(*where);
    *where = strdup(text);
}

static int on_finished(sd_bus_message *signal, void *data, sd_bus_error *error) {
    End *end = data;
    const char *result, *name, *message;
    (void)error;
    assert(sd_bus_message_read(signal, "sss", &result, &name, &message) >= 0);
    keep(&end->result, result);
    keep(&end->error_name, name);
    return 0;
}

static int on_changed(sd_bus_message *signal, void *data, sd_bus_error *error) {
    End *end = data;
    const char *name;
    (void)error;
    assert(sd_bus_message_skip(signal, "s") >= 0 && sd_bus_message_enter_container(signal, 'a', "{sv}") >= 0);
    while (sd_bus_message_enter_container(signal, 'e', "sv") > 0) {
        double fraction = 0;
        assert(sd_bus_message_read(signal, "s", &name) >= 0);
        if (strcmp(name, "Fraction") == 0)
            assert(sd_bus_message_read(signal, "v", "d", &fraction) >= 0);
        else
            assert(sd_bus_message_skip(signal, "v") >= 0);
        end->progress = end->progress || fraction > 0;
        assert(sd_bus_message_exit_container(signal) >= 0);
    }
    return 0;
}

static void follow(sd_bus *bus, const char *what, sd_bus_message *call) {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *answer = NULL;
    if (sd_bus_call(bus, call, 0, &error, &answer) < 0) {
        printf("%s: %s\n", what, error.name);
        sd_bus_error_free(&error);
        return;
    }
    unsigned id;
    const char *path;
    assert(sd_bus_message_read(answer, "uo", &id, &path) >= 0);
    End end = {NULL, NULL, false};
    sd_bus_slot *finished = NULL, *changed = NULL;
    assert(sd_bus_match_signal(bus, &finished, "org.imaged1", path, "org.imaged1.Job", "Finished", on_finished, &end) >= 0);
    assert(sd_bus_match_signal(bus, &changed, "org.imaged1", path, "org.freedesktop.DBus.Properties", "PropertiesChanged", on_changed, &end) >= 0);
    char *state = NULL;
    double fraction = 0;
    assert(sd_bus_get_property_trivial(bus, "org.imaged1", path, "org.imaged1.Job", "Fraction", NULL, 'd', &fraction) >= 0);
    assert(sd_bus_get_property_string(bus, "org.imaged1", path, "org.imaged1.Job", "State", NULL, &state) >= 0);
    end.progress = end.progress || fraction > 0;
    if (strcmp(state, "finished") == 0 && !end.result) {
        assert(sd_bus_get_property_string(bus, "org.imaged1", path, "org.imaged1.Job", "Result", NULL, &end.result) >= 0);
        assert(sd_bus_get_property_string(bus, "org.imaged1", path, "org.imaged1.Job", "ErrorName", NULL, &end.error_name) >= 0);
    }
    while (!end.result) {
        if (sd_bus_process(bus, NULL) == 0) sd_bus_wait(bus, (uint64_t)-1);
    }
    printf("%s: %s %s%s\n", what, end.result, end.error_name, end.progress ? "progress" : "");
    free(state);
    free(end.result);
    free(end.error_name);
    sd_bus_slot_unref(finished);
    sd_bus_slot_unref(changed);
    sd_bus_message_unref(answer);
}

static sd_bus_message *new_call(sd_bus *bus, const char *method) {
    sd_bus_message *call = NULL;
    assert(sd_bus_message_new_method_call(bus, &call, "org.imaged1", "/org/imaged1", "org.imaged1.Manager", method) >= 0);
    return call;
}

int main(int count, char **words) {
    assert(count == 5);
    sd_bus *bus = NULL;
    assert(sd_bus_new(&bus) >= 0 && sd_bus_set_address(bus, words[1]) >= 0 && sd_bus_set_bus_client(bus, true) >= 0 && sd_bus_negotiate_fds(bus, true) >= 0 &&
           sd_bus_start(bus) >= 0);
    sd_bus_message *call = new_call(bus, "Pull");
    assert(sd_bus_message_append(call, "sa{sv}", words[2], 0) >= 0);
    follow(bus, "pull", call);
    sd_bus_message_unref(call);
    call = new_call(bus, "Pull");
    assert(sd_bus_message_append(call, "sa{sv}", "oci:/nonexistent:x", 0) >= 0);
    follow(bus, "error", call);
    sd_bus_message_unref(call);
    int file = open(words[4], O_RDONLY | O_CLOEXEC);
    call = new_call(bus, "Pull");
    assert(sd_bus_message_append(call, "sa{sv}", words[2], 1, "authfile", "h", file) >= 0);
    follow(bus, "authfile", call);
    sd_bus_message_unref(call);
    close(file);
    file = open(words[3], O_RDONLY | O_CLOEXEC);
    call = new_call(bus, "ImportArchive");
    assert(sd_bus_message_append(call, "hsa{sv}", file, "docker://example.org/archive:1", 0) >= 0);
    follow(bus, "archive", call);
    sd_bus_message_unref(call);
    close(file);
    sd_bus_message *answer = NULL;
    assert(sd_bus_call_method(bus, "org.imaged1", "/org/imaged1", "org.imaged1.Manager", "ListImages", NULL, &answer, "a{sv}", 0) >= 0);
    unsigned images = 0;
    assert(sd_bus_message_enter_container(answer, 'a', "a{sv}") >= 0);
    while (sd_bus_message_at_end(answer, false) == 0) {
        assert(sd_bus_message_skip(answer, "a{sv}") >= 0);
        ++images;
    }
    printf("list: %u\n", images);
    sd_bus_message_unref(answer);
    sd_bus_flush_close_unref(bus);
    return 0;
}
