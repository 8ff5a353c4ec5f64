// SPDX-License-Identifier: Apache-2.0
// Lists the images that imaged keeps, with GDBus: cc list-images.c $(pkg-config --cflags --libs gio-2.0)
#include <gio/gio.h>

int main(void) {
    g_autoptr(GError) error = NULL;
    g_autoptr(GDBusConnection) bus = g_bus_get_sync(G_BUS_TYPE_SYSTEM, NULL, &error);
    g_autoptr(GVariant) answer = NULL;
    if (bus != NULL) {
        answer = g_dbus_connection_call_sync(bus, "org.imaged1", "/org/imaged1", "org.imaged1.Manager", "ListImages",
                                             g_variant_new("(a{sv})", NULL), G_VARIANT_TYPE("(aa{sv})"),
                                             G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
    }
    if (answer == NULL) {
        g_printerr("%s\n", error->message);
        return 1;
    }
    g_autoptr(GVariantIter) images = NULL;
    g_variant_get(answer, "(aa{sv})", &images);
    for (GVariant* image; (image = g_variant_iter_next_value(images)) != NULL; g_variant_unref(image)) {
        const char *name = "?", *digest = "-";
        g_variant_lookup(image, "image", "&s", &name);
        g_variant_lookup(image, "digest", "&s", &digest);
        g_print("%s %s\n", name, digest);
    }
    return 0;
}
