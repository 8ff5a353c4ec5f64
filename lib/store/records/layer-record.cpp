// SPDX-License-Identifier: Apache-2.0
#include "store/records/layer-record.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "store/records/stored-image.hpp"

namespace imaged {

namespace {

constexpr const char* key_prefix = "imaged.";
constexpr const char* diff_id_key = "imaged.diff-id";
constexpr const char* implicit_key = "imaged.implicit-directories";
constexpr const char* listed_key = "imaged.listed-directories";
constexpr const char* whiteout_only_key = "imaged.hollow-directories";
constexpr const char* unresolved_key = "imaged.unresolved-links";
constexpr const char* links_first_key = "imaged.links-first";
constexpr const char* behind_key = "imaged.whiteouts-behind";
constexpr const char* lost_key = "imaged.lost";
constexpr const char* order_key = "imaged.order";
constexpr const char* hard_links_key = "imaged.hard-links";
constexpr const char* link_rivals_key = "imaged.link-rivals";
constexpr const char* root_key = "imaged.root-policy";
constexpr const char* layer_filtered_key = "imaged.filtered";
constexpr const char* moved_var_key = "imaged.moved-var";

constexpr const char* whiteouts_key = "imaged.whiteouts";

constexpr const char* everything = "everything";
constexpr const char* usr_etc_var = "usr-etc-var";

// The metadata of a commit, taken apart once: each g_variant_lookup_value() unpacks every entry before the one it looks
// for. Borrows the commit.
class Metadata {
public:
    explicit Metadata(const Repository::Commit& commit) {
        GVariantIter iterator;
        g_variant_iter_init(&iterator, commit.metadata.get());
        const char* key = nullptr;
        GVariant* value = nullptr;
        while (g_variant_iter_next(&iterator, "{&sv}", &key, &value) != FALSE)
            entries_.emplace_back(key, VariantPtr(value));
    }

    // Null if there is none, or one of another type than TYPE. The first of a key counts.
    GVariant* find(std::string_view key, const char* type) const {
        const auto found =
            std::find_if(entries_.begin(), entries_.end(), [&](const auto& e) { return e.first == key; });
        if (found == entries_.end() || g_variant_is_of_type(found->second.get(), G_VARIANT_TYPE(type)) == FALSE)
            return nullptr;
        return found->second.get();
    }
    std::optional<std::string> text(std::string_view key) const {
        auto* const value = find(key, "s");
        return value == nullptr ? std::nullopt : std::optional<std::string>(g_variant_get_string(value, nullptr));
    }

private:
    std::vector<std::pair<std::string_view, VariantPtr>> entries_;
};

template <typename Container = std::vector<std::string>>
Container strings(GVariant* array) {
    Container found;
    if (array == nullptr) return found;
    GVariantIter iterator;
    g_variant_iter_init(&iterator, array);
    const char* text = nullptr;
    while (g_variant_iter_next(&iterator, "&s", &text) != FALSE) found.insert(found.end(), text);
    return found;
}

std::vector<UnresolvedLink> links(const Metadata& metadata, const char* key) {
    std::vector<UnresolvedLink> links;
    auto* const array = metadata.find(key, "a(ss)");
    if (array == nullptr) return links;
    GVariantIter iterator;
    g_variant_iter_init(&iterator, array);
    const char *path = nullptr, *target = nullptr;
    while (g_variant_iter_next(&iterator, "(&s&s)", &path, &target) != FALSE) links.push_back({path, target});
    return links;
}

// Puts the framing offsets ENDS behind BYTES, the members of a container in GVariant's serialised form, in as few bytes
// as the size of the whole asks for; little-endian on every machine.
void add_offsets(std::string& bytes, const std::vector<std::size_t>& ends) {
    std::size_t width = 1;
    while (width < sizeof(std::size_t) && (bytes.size() + ends.size() * width) >> (8 * width) != 0) width *= 2;
    bytes.reserve(bytes.size() + ends.size() * width);
    for (const auto end : ends) {
        std::array<char, sizeof end> number{};
        std::memcpy(number.data(), &end, sizeof end);
        if constexpr (std::endian::native == std::endian::big) std::reverse(number.begin(), number.end());
        bytes.append(number.data(), width);
    }
}

// An array with an element for each of ITEMS, which APPEND puts behind bytes. With a GVariant for each element the
// arrays of a large layer would take many times their size.
template <typename Items, typename Append>
GVariant* serialised_array(const char* type, const Items& items, Append&& append) {
    std::string bytes;
    std::vector<std::size_t> ends;
    ends.reserve(items.size());
    for (const auto& item : items) {
        append(bytes, item);
        ends.push_back(bytes.size());
    }
    add_offsets(bytes, ends);
    auto* held = new std::string(std::move(bytes));
    return g_variant_new_from_data(
        G_VARIANT_TYPE(type), held->data(), held->size(), TRUE,
        [](gpointer text) { delete static_cast<std::string*>(text); }, held);
}

GVariant* link_array(const std::vector<UnresolvedLink>& links) {
    return serialised_array("a(ss)", links, [](std::string& bytes, const UnresolvedLink& link) {
        std::string pair = link.path;
        pair += '\0';
        const auto end = pair.size();
        pair += link.target;
        pair += '\0';
        add_offsets(pair, {end});
        bytes += pair;
    });
}

GVariant* string_array(const std::vector<std::string>& strings) {
    return serialised_array("as", strings, [](std::string& bytes, const std::string& text) {
        bytes += text;
        bytes += '\0';
    });
}

}  // namespace

LayerRecord LayerRecord::read(const Repository::Commit& commit) {
    const Metadata metadata(commit);
    LayerRecord record;
    if (const auto diff_id = metadata.text(diff_id_key)) record.diff_id = Digest::find(*diff_id);
    if (auto* const implicit = metadata.find(implicit_key, "as")) {
        record.has_implicit = true;
        record.implicit_directories = strings<std::unordered_set<std::string>>(implicit);
    }
    if (auto* const listed = metadata.find(listed_key, "as")) {
        record.has_implicit = true;
        record.listed_directories = strings<std::unordered_set<std::string>>(listed);
    }
    record.whiteout_only_directories = strings<std::unordered_set<std::string>>(metadata.find(whiteout_only_key, "as"));
    record.whiteouts_behind = strings(metadata.find(behind_key, "as"));
    record.lost = strings(metadata.find(lost_key, "as"));
    record.order = strings(metadata.find(order_key, "as"));
    record.links_first = links(metadata, links_first_key);
    record.unresolved = links(metadata, unresolved_key);
    record.hard_links = links(metadata, hard_links_key);
    record.link_rivals = links(metadata, link_rivals_key);
    if (metadata.text(root_key).value_or("") == everything) record.root = RootPolicy::everything;
    if (auto* const filtered = metadata.find(layer_filtered_key, "a{su}")) {
        GVariantIter iterator;
        g_variant_iter_init(&iterator, filtered);
        const char* path = nullptr;
        guint32 count = 0;
        while (g_variant_iter_next(&iterator, "{&su}", &path, &count) != FALSE) record.filtered[path] = count;
    }
    record.dropped = DroppedCounts::read(commit);
    if (auto* const moved = metadata.find(moved_var_key, "b")) record.moved_var = g_variant_get_boolean(moved) != FALSE;
    if (auto* const whiteouts = metadata.find(whiteouts_key, "b"))
        record.has_whiteouts = g_variant_get_boolean(whiteouts) != FALSE;
    return record;
}

bool LayerRecord::is_implicit(const std::string& path, bool is_default) const {
    if (listed_directories) return is_default && !listed_directories->contains(path);
    return has_implicit ? implicit_directories.contains(path) : is_default;
}

bool LayerRecord::claims_anything(const Repository::Commit& commit) {
    GVariantIter iterator;
    g_variant_iter_init(&iterator, commit.metadata.get());
    const char* key = nullptr;
    while (g_variant_iter_next(&iterator, "{&sv}", &key, nullptr) != FALSE) {
        if (std::string_view(key).starts_with(key_prefix)) return true;
    }
    return false;
}

bool LayerRecord::fits(const DerivedLayerRules& rules) const {
    if (has_implicit && moved_var != rules.mapping.move_var) return false;
    // What was kept for another image is dropped by the merge.
    if (root == RootPolicy::everything || rules.root == RootPolicy::usr_etc_var) return true;
    return has_implicit && std::all_of(filtered.begin(), filtered.end(),
                                       [](const auto& entry) { return is_runtime_directory(entry.first); });
}

VariantPtr layer_metadata(const DerivedLayer& layer, const DerivedLayerRules& rules, const Digest& diff_id) {
    GVariantBuilder metadata;
    g_variant_builder_init(&metadata, G_VARIANT_TYPE_VARDICT);
    const auto add = [&](const char* key, GVariant* value) { g_variant_builder_add(&metadata, "{sv}", key, value); };
    add(importer_version_key, g_variant_new_string(importer_version().c_str()));
    add(diff_id_key, g_variant_new_string(diff_id.text().c_str()));
    if (layer.root.listed)
        add(listed_key, string_array(*layer.root.listed));
    else
        add(implicit_key, string_array(layer.root.implicit));
    if (!layer.root.whiteout_only.empty()) add(whiteout_only_key, string_array(layer.root.whiteout_only));
    if (!layer.unresolved.empty()) add(unresolved_key, link_array(layer.unresolved));
    if (!layer.links_first.empty()) add(links_first_key, link_array(layer.links_first));
    if (!layer.root.behind.empty()) add(behind_key, string_array(layer.root.behind));
    if (!layer.lost.empty()) add(lost_key, string_array(layer.lost));
    if (!layer.root.order.empty()) add(order_key, string_array(layer.root.order));
    if (!layer.hard_links.empty()) add(hard_links_key, link_array(layer.hard_links));
    if (!layer.link_rivals.empty()) add(link_rivals_key, link_array(layer.link_rivals));
    // By the layer alone: whichever image brings it first, it has one commit.
    add(root_key, g_variant_new_string(layer.root.more_than_deployed ? everything : usr_etc_var));
    if (!layer.filtered.empty()) {
        GVariantBuilder filtered;
        g_variant_builder_init(&filtered, G_VARIANT_TYPE("a{su}"));
        for (const auto& [path, count] : layer.filtered) g_variant_builder_add(&filtered, "{su}", path.c_str(), count);
        add(layer_filtered_key, g_variant_builder_end(&filtered));
    }
    DroppedCounts{layer.special_files, layer.bad_names, layer.dropped_xattrs}.write(metadata);
    add(moved_var_key, g_variant_new_boolean(rules.mapping.move_var ? TRUE : FALSE));
    add(whiteouts_key, g_variant_new_boolean(layer.has_whiteouts ? TRUE : FALSE));
    return adopt_variant(g_variant_builder_end(&metadata));
}

std::string importer_version() {
    return std::string("imaged ") + IMAGED_VERSION;
}

}  // namespace imaged
