// SPDX-License-Identifier: Apache-2.0
// The kinds of jobs: what each is asked for, and what follows from its kind. One struct for each; a new one is added to
// Work, and has its outcome in job/outcomes.hpp (docs/adding-a-verb.md). Plain values.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "job/outcomes.hpp"
#include "job/settings.hpp"
#include "oci/digest.hpp"
#include "oci/image-reference.hpp"

namespace imaged::job {

// What the process that changes the repository does for a confined job of the kind (daemon/worker/publisher.hpp).
enum class Publishing {
    none,      // there is no such process: the job changes the repository itself
    scratch,   // a directory for its files
    metadata,  // and detached metadata of a stored image
    verdict,   // and what a verification found
    image,     // and objects, layers and the ref of its image
};

// What follows from the kind of a job.
struct Traits {
    std::string_view name;     // on the bus and in the journal
    std::string_view action;   // what must be allowed: org.imaged1.ACTION of polkit; empty for what anybody may ask for
    bool looks = false;        // changes nothing but what is known of an image: such jobs wait for no others
    bool reads_image = false;  // opens its image where it comes from
    bool stores_image = false;  // and keeps it: whether it needs a signature is a question
    bool takes_authfile = false;
    bool takes_place = false;  // may open a path that the caller names, who may show what is there (option place)
    Publishing publishing = Publishing::none;
};

// How the layers of an export are compressed.
enum class LayerCompression { gzip, zstd, none };
std::string_view to_string(LayerCompression compression);
constexpr auto values_of(LayerCompression) {
    return std::array{LayerCompression::gzip, LayerCompression::zstd, LayerCompression::none};
}

// In each, `image` is a reference with its signature source, and names in `images` and `target` have none. What the
// caller gives as an option of the method is listed with option(), under the option's name.

struct Prepare {
    static constexpr Traits traits{
        .name = "prepare", .looks = true, .reads_image = true, .takes_authfile = true, .takes_place = true};
    using Outcome = PrepareOutcome;

    ImageReference image;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
    }
    bool operator==(const Prepare&) const = default;
};

struct Import {
    static constexpr Traits traits{.name = "import",
                                   .action = "import",
                                   .reads_image = true,
                                   .stores_image = true,
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::image};
    using Outcome = PullOutcome;

    ImageReference image;
    std::optional<Digest> digest;          // what the source must serve; never empty here
    std::optional<ImageReference> target;  // the name to store it under, where that is another one
    bool any_architecture = false;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields.option("digest", self.digest);
        fields.option("target", self.target);
        fields.option("any-architecture", self.any_architecture);
    }
    bool operator==(const Import&) const = default;
};

struct Pull {
    static constexpr Traits traits{.name = "pull",
                                   .action = "pull",
                                   .reads_image = true,
                                   .stores_image = true,
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::image};
    using Outcome = PullOutcome;

    ImageReference image;
    std::optional<Digest> digest;
    std::optional<ImageReference> target;
    bool any_architecture = false;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields.option("digest", self.digest);
        fields.option("target", self.target);
        fields.option("any-architecture", self.any_architecture);
    }
    bool operator==(const Pull&) const = default;
};

// The archive is Request::input_file.
struct ImportArchive {
    static constexpr Traits traits{
        .name = "import-archive", .action = "import", .stores_image = true, .publishing = Publishing::image};
    using Outcome = PullOutcome;

    ImageReference image;             // the name to store it under
    std::optional<std::string> name;  // which of several images
    std::optional<Digest> digest;
    bool any_architecture = false;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields.option("name", self.name);
        fields.option("digest", self.digest);
        fields.option("any-architecture", self.any_architecture);
    }
    bool operator==(const ImportArchive&) const = default;
};

struct Copy {
    static constexpr Traits traits{.name = "copy", .action = "copy", .takes_place = true};
    using Outcome = CopyOutcome;

    ImageReference image;
    std::string repository;  // absolute path of the other one
    bool from = false;       // from there into imaged's own
    std::optional<ImageReference> target;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("repository", self.repository);
        fields.option("from", self.from);
        fields.option("target", self.target);
    }
    bool operator==(const Copy&) const = default;
};

struct Export {
    static constexpr Traits traits{.name = "export",
                                   .action = "export",
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::scratch};
    using Outcome = ExportOutcome;

    ImageReference image;
    ImageReference destination;
    LayerCompression compression = LayerCompression::gzip;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields("destination", self.destination);
        fields.option("compression", self.compression);
    }
    bool operator==(const Export&) const = default;
};

struct Check {
    static constexpr Traits traits{.name = "check",
                                   .action = "check",
                                   .looks = true,
                                   .reads_image = true,
                                   .takes_authfile = true,
                                   .publishing = Publishing::metadata};
    using Outcome = CheckOutcome;

    ImageReference image;
    std::optional<ImageReference> target;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields.option("target", self.target);
    }
    bool operator==(const Check&) const = default;
};

// A worker does Check for each image (daemon/jobs/check-round.hpp).
struct CheckImages {
    static constexpr Traits traits{.name = "check-images", .action = "check", .looks = true};
    using Outcome = CheckImagesOutcome;

    std::vector<ImageReference> images;  // none for all

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("images", self.images);
    }
    bool operator==(const CheckImages&) const = default;
};

struct Remove {
    static constexpr Traits traits{.name = "remove", .action = "remove"};
    using Outcome = RemoveOutcome;

    // None, within the worker: layers that nobody uses (daemon/worker/publisher.hpp).
    std::vector<ImageReference> images;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("images", self.images);
    }
    bool operator==(const Remove&) const = default;
};

struct Rollback {
    static constexpr Traits traits{.name = "rollback", .action = "rollback"};
    using Outcome = RollbackOutcome;

    ImageReference image;
    std::optional<Digest> digest;  // the version to go back to; by default the one that was current last

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("image", self.image);
        fields.option("digest", self.digest);
    }
    bool operator==(const Rollback&) const = default;
};

struct Prune {
    static constexpr Traits traits{.name = "prune", .action = "prune"};
    using Outcome = PruneOutcome;

    bool dry_run = false;
    bool foreign_commits = false;

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields.option("dry-run", self.dry_run);
        fields.option("foreign-commits", self.foreign_commits);
    }
    bool operator==(const Prune&) const = default;
};

struct Verify {
    static constexpr Traits traits{.name = "verify",
                                   .action = "verify",
                                   .takes_authfile = true,
                                   .takes_place = true,
                                   .publishing = Publishing::verdict};
    using Outcome = VerifyOutcome;

    std::vector<ImageReference> images;  // none for all
    bool repair = false;
    std::optional<ImageReference> source;  // where a repair fetches from, in place of each image's own reference
    bool demand_signature = false;         // of what a repair fetches: the daemon decides

    template <typename Self, typename Fields>
    static void fields(Self& self, Fields& fields) {
        fields("images", self.images);
        fields.option("repair", self.repair);
        fields.option("source", self.source);
        fields("signed", self.demand_signature);
    }
    bool operator==(const Verify&) const = default;
};

using Work = std::variant<Prepare, Import, Pull, ImportArchive, Copy, Export, Check, CheckImages, Remove, Rollback,
                          Prune, Verify>;

// Calls FUNCTION with a default value of each kind.
template <typename Function, std::size_t... Index>
void for_each_kind(Function&& function, std::index_sequence<Index...>) {
    (function(std::variant_alternative_t<Index, Work>()), ...);
}
template <typename Function>
void for_each_kind(Function&& function) {
    for_each_kind(function, std::make_index_sequence<std::variant_size_v<Work>>());
}

// One job. Two equal requests are the same work.
struct Request {
    Work work;
    std::string repository;  // absolute path
    // Numbers of inherited descriptors, never part of equality: registry credentials, and the file that the caller
    // opened.
    std::optional<int> auth_file, input_file;
    // Likewise, but never sent: within a confined worker, the process that changes the repository for the job.
    std::optional<int> publisher;
    // The administrator's, when the job starts; never part of equality.
    Settings settings;
    bool operator==(const Request& other) const { return work == other.work && repository == other.repository; }

    const Traits& traits() const;
    // The work, if it is of KIND; else null.
    template <typename Kind>
    const Kind* as() const {
        return std::get_if<Kind>(&work);
    }
    // The image that the job is about, null where a kind has none or several.
    const ImageReference* image() const;
    // It in canonical form, empty where there is none.
    std::string image_name() const;
    // Those of a kind that has several.
    const std::vector<ImageReference>* images() const;
    // The name that the job stores its image under, where that is another one.
    const std::optional<ImageReference>* target() const;
};

// One line, newline included. Throws Error(invalid_argument) for what is not UTF-8.
std::string encode(const Request& request);
// Throws Error(failed) naming what is wrong with LINE, Error(invalid_reference) or Error(corrupt_input).
Request decode_request(std::string_view line);

}  // namespace imaged::job
