// SPDX-License-Identifier: Apache-2.0
#include "store/records/dropped-counts.hpp"

namespace imaged {

namespace {

constexpr const char* dropped_key = "imaged.dropped";
constexpr const char* special_files_key = "special-files";
constexpr const char* names_key = "names";
constexpr const char* attributes_key = "attributes";

}  // namespace

DroppedCounts DroppedCounts::read(const Repository::Commit& commit) {
    DroppedCounts counts;
    const VariantPtr stored(g_variant_lookup_value(commit.metadata.get(), dropped_key, G_VARIANT_TYPE("a{st}")));
    if (!stored) return counts;
    g_variant_lookup(stored.get(), special_files_key, "t", &counts.special_files);
    g_variant_lookup(stored.get(), names_key, "t", &counts.names);
    g_variant_lookup(stored.get(), attributes_key, "t", &counts.attributes);
    return counts;
}

DroppedCounts& DroppedCounts::operator+=(const DroppedCounts& more) {
    special_files += more.special_files;
    names += more.names;
    attributes += more.attributes;
    return *this;
}

void DroppedCounts::write(GVariantBuilder& metadata) const {
    if (special_files == 0 && names == 0 && attributes == 0) return;
    GVariantBuilder counts;
    g_variant_builder_init(&counts, G_VARIANT_TYPE("a{st}"));
    g_variant_builder_add(&counts, "{st}", special_files_key, guint64{special_files});
    g_variant_builder_add(&counts, "{st}", names_key, guint64{names});
    g_variant_builder_add(&counts, "{st}", attributes_key, guint64{attributes});
    g_variant_builder_add(&metadata, "{sv}", dropped_key, g_variant_builder_end(&counts));
}

}  // namespace imaged
