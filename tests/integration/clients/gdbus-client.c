/* SPDX-License-Identifier: Apache-2.0
 * What a C program does with the code that gdbus-codegen makes of imaged's interface: gdbus-client ADDRESS IMAGE ARCHIVE AUTHFILE */
#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <stdio.h>
#include <unistd.h>

#include "imaged.h"

typedef struct {
    GMainLoop *loop;
    char *result, *error_name;
    gboolean progress;
} End;

static void on_finished(ImagedJob *job, const char *result, const char *error_name, const char *message, GVariant *outcome, gpointer data) {
    End *end = data;
    (void)job, (void)message, (void)outcome;
    end->result = g_strdup(result);
    end->error_name = g_strdup(error_name);
    g_main_loop_quit(end->loop);
}

static void on_fraction(GObject *job, GParamSpec *property, gpointer data) {
    End *end = data;
    (void)property;
    end->progress = end->progress || imaged_job_get_fraction(IMAGED_JOB(job)) > 0;
}

static GVariant *with_file(GUnixFDList *files, const char *path, const char *option) {
    GVariantDict options;
    g_variant_dict_init(&options, NULL);
    if (path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        int index = g_unix_fd_list_append(files, file, NULL);
        close(file);
        if (option) g_variant_dict_insert(&options, option, "h", index);
    }
    return g_variant_ref_sink(g_variant_dict_end(&options));
}

static void follow(GDBusConnection *bus, const char *what, const char *path, GError *failure) {
    g_autofree char *name = failure ? g_dbus_error_get_remote_error(failure) : NULL;
    if (failure) {
        printf("%s: %s\n", what, name);
        return;
    }
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    End end = {loop, NULL, NULL, FALSE};
    g_autoptr(GError) error = NULL;
    g_autoptr(ImagedJob) job = imaged_job_proxy_new_sync(bus, G_DBUS_PROXY_FLAGS_NONE, "org.imaged1", path, NULL, &error);
    g_assert_no_error(error);
    g_signal_connect(job, "finished", G_CALLBACK(on_finished), &end);
    g_signal_connect(job, "notify::fraction", G_CALLBACK(on_fraction), &end);
    end.progress = imaged_job_get_fraction(job) > 0;
    /* The end may have come before the signal was subscribed to. */
    if (g_strcmp0(imaged_job_get_state(job), "finished") != 0) g_main_loop_run(loop);
    printf("%s: %s %s%s\n", what, end.result ? end.result : imaged_job_get_result(job), end.error_name ? end.error_name : imaged_job_get_error_name(job),
           end.progress ? "progress" : "");
    g_free(end.result);
    g_free(end.error_name);
}

int main(int count, char **words) {
    g_assert(count == 5);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDBusConnection) bus = g_dbus_connection_new_for_address_sync(
        words[1], G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT | G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION, NULL, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(ImagedManager) manager = imaged_manager_proxy_new_sync(bus, G_DBUS_PROXY_FLAGS_NONE, "org.imaged1", "/org/imaged1", NULL, &error);
    g_assert_no_error(error);
    const char *none = NULL;
    const struct {
        const char *what, *image, *authfile;
    } pulls[] = {{"pull", words[2], none}, {"error", "oci:/nonexistent:x", none}, {"authfile", words[2], words[4]}};
    for (size_t i = 0; i < G_N_ELEMENTS(pulls); i++) {
        g_autoptr(GUnixFDList) files = g_unix_fd_list_new();
        g_autoptr(GVariant) options = with_file(files, pulls[i].authfile, "authfile");
        g_autoptr(GError) failure = NULL;
        g_autofree char *path = NULL;
        guint32 id = 0;
        imaged_manager_call_pull_sync(manager, pulls[i].image, options, files, &id, &path, NULL, NULL, &failure);
        follow(bus, pulls[i].what, path, failure);
    }
    g_autoptr(GUnixFDList) files = g_unix_fd_list_new();
    g_autoptr(GVariant) options = with_file(files, words[3], NULL);
    g_autoptr(GError) failure = NULL;
    g_autofree char *path = NULL;
    guint32 id = 0;
    imaged_manager_call_import_archive_sync(manager, g_variant_new_handle(0), "docker://example.org/archive:1", options, files, &id, &path, NULL, NULL, &failure);
    follow(bus, "archive", path, failure);
    g_autoptr(GVariant) images = NULL;
    imaged_manager_call_list_images_sync(manager, g_variant_new("a{sv}", NULL), &images, NULL, &error);
    g_assert_no_error(error);
    printf("list: %zu\n", g_variant_n_children(images));
    return 0;
}
