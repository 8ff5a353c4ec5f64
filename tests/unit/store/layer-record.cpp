// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-record.hpp"

#include "base/glib.hpp"
#include "catch.hpp"
#include "checksum-of.hpp"

using namespace imaged;

TEST_CASE("lists of any size are in GVariant's normal form, and are read as they were written", "[layer-record]") {
    // The framing offsets have one, two and four bytes.
    for (const std::size_t count : {0UL, 1UL, 2UL, 9UL, 10UL, 100UL, 3000UL, 70'000UL}) {
        for (const std::size_t length : {0UL, 1UL, 20UL, 130UL, 300UL}) {
            if (count * length > 2'000'000) continue;
            CAPTURE(count, length);
            DerivedLayer layer;
            GVariantBuilder links, order;
            g_variant_builder_init(&links, G_VARIANT_TYPE("a(ss)"));
            g_variant_builder_init(&order, G_VARIANT_TYPE_STRING_ARRAY);
            for (std::size_t i = 0; i < count; ++i) {
                const std::string path(length, static_cast<char>('a' + i % 26)), target = std::to_string(i);
                layer.unresolved.push_back({path, target});
                layer.root.order.push_back(path);
                g_variant_builder_add(&links, "(ss)", path.c_str(), target.c_str());
                g_variant_builder_add(&order, "s", path.c_str());
            }
            const VariantPtr expected_links(g_variant_ref_sink(g_variant_builder_end(&links)));
            const VariantPtr expected_order(g_variant_ref_sink(g_variant_builder_end(&order)));
            const auto metadata = layer_metadata(layer, {}, Digest(checksum_of('a')));
            CHECK(g_variant_is_normal_form(metadata.get()) != FALSE);
            const auto same = [&](const char* key, const char* type, GVariant* expected) {
                const VariantPtr found(g_variant_lookup_value(metadata.get(), key, G_VARIANT_TYPE(type)));
                return found ? g_variant_equal(found.get(), expected) != FALSE : g_variant_n_children(expected) == 0;
            };
            CHECK(same("imaged.unresolved-links", "a(ss)", expected_links.get()));
            CHECK(same("imaged.order", "as", expected_order.get()));
        }
    }
}
