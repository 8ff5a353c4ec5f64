// SPDX-License-Identifier: Apache-2.0
#include "store/import/remote-keys.hpp"

#include <ostree.h>

#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

[[noreturn]] void reject(const std::string& what) {
    throw Error(ErrorKind::policy_rejected, what);
}

bool libostree_knows(std::string_view kind) {
    const std::unique_ptr<GPtrArray, Free<g_ptr_array_unref>> all(ostree_sign_get_all());
    for (guint i = 0; i < all->len; ++i) {
        if (kind == ostree_sign_get_name(static_cast<OstreeSign*>(g_ptr_array_index(all.get(), i)))) return true;
    }
    return false;
}

// The kinds of signature besides GPG that the remote asks for: its sign-verify is a boolean or a list of kinds.
std::vector<std::string> wanted_kinds(const std::string& value) {
    if (value.empty() || value == "false") return {};
    if (value == "true") return {"ed25519"};
    std::vector<std::string> kinds;
    for (std::size_t begin = 0; begin < value.size();) {
        const auto end = std::min(value.find_first_of(";,", begin), value.size());
        if (end > begin) kinds.push_back(value.substr(begin, end - begin));
        begin = end + 1;
    }
    return kinds;
}

BytesPtr copy_of(std::string_view bytes) {
    return BytesPtr(g_bytes_new(bytes.data(), bytes.size()));
}

}  // namespace

RemoteKeys::RemoteKeys(const Repository& repository, std::string remote)
    : repository_(repository), remote_(std::move(remote)) {
    auto* repo = repository_.handle();
    ErrorSlot error;
    gboolean gpg = FALSE;
    // Of a remote that there is no word of, libostree says so here.
    if (ostree_repo_remote_get_gpg_verify(repo, remote_.c_str(), &gpg, error.out()) == FALSE)
        reject("the repository has no OSTree remote \"" + remote_ + "\" whose keys could verify the image");
    char* raw = nullptr;
    if (ostree_repo_get_remote_option(repo, remote_.c_str(), "sign-verify", "false", &raw, error.out()) == FALSE)
        reject("the settings of the OSTree remote \"" + remote_ + "\" cannot be read");
    const CharPtr value(raw);
    const auto kinds = wanted_kinds(raw);
    if (gpg == FALSE && kinds.empty())
        reject("the OSTree remote \"" + remote_ + "\" verifies nothing: both gpg-verify and sign-verify are off");
    for (const auto& kind : kinds) {
        if (!libostree_knows(kind))
            reject("the OSTree remote \"" + remote_ + "\" asks for " + kind +
                   " signatures (sign-verify), which the libostree on this system was built without");
    }
}

void RemoteKeys::verify(const CommitHead& commit) const {
    const auto who = "the commit " + commit.checksum.hex() +
                     " has no valid signature by a key of the OSTree remote \"" + remote_ + "\"";
    if (!commit.metadata) reject(who + ": it is not signed");
    const auto data = copy_of(commit.commit), metadata = copy_of(*commit.metadata);
    const auto variant = adopt_variant(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, metadata.get(), FALSE));
    if (g_variant_is_normal_form(variant.get()) == FALSE) reject(who + ": its detached metadata is malformed");
    GError* raw = nullptr;
    char* results = nullptr;
    const bool valid =
        ostree_repo_signature_verify_commit_data(repository_.handle(), remote_.c_str(), data.get(), metadata.get(),
                                                 OSTREE_REPO_VERIFY_FLAGS_NONE, &results, &raw) != FALSE;
    const CharPtr owned_results(results);
    const std::unique_ptr<GError, Free<g_error_free>> failure(raw);
    if (!valid) reject(who + ": " + (failure ? failure->message : "unknown reason"));
}

}  // namespace imaged
