// SPDX-License-Identifier: Apache-2.0
// The protocol between a confined job (remote-writer.hpp) and the process that changes the repository for it
// (daemon/worker/publisher.hpp): one packet for a call, one for its answer, in the byte order of the machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.hpp"
#include "layer/object-placement.hpp"
#include "oci/layout.hpp"
#include "store/files/repository-writer.hpp"

namespace imaged {

enum class PublisherCall : std::uint32_t {
    begin,           // number: 1 if this host's libostree has /var of derived layers moved. First, and once: before the
                     // job has read anything that could take it over
    lock,            // shared; "locked" while another program holds it
    unlock,          //
    announce,        // checksum: the manifest's digest; then an AnnouncedLayer for each layer, then the rule for
                     // signatures that let the image in; number: bytes of this text
    make_scratch,    // answered with its number and a descriptor of the directory
    place,           // number: of the scratch directory; then Placements. Nobody can write there from then on
    remove_scratch,  // number
    set_ref,         // number: of the layer, with second_ref for derived_ref(), third_ref for objects_ref(), or
                     // image_number; checksum: the commit
    add_record,      // number: of the layer, with unseen_blob where that is so, or image_number; checksum: the commit
    keep_record,     // number: of a scratch directory with the file 0/record, which is empty if there is none
    drop_layers      // answered with a channel to another worker (job/job.hpp), which drops layers that nobody uses
};

struct PublisherHead {
    PublisherCall call;
    std::uint32_t number;
    Checksum checksum;
};

struct AnnouncedLayer {
    Checksum blob, diff_id;
    LayerKind kind;
    bool operator==(const AnnouncedLayer&) const = default;
};

// After a failure the text of the error follows it.
struct PublisherAnswer {
    enum class Outcome : std::uint32_t { done, failed, locked } outcome;
    std::uint32_t number;
    ErrorKind kind;
};
inline constexpr std::size_t max_answer_text = 1024;

inline constexpr std::uint32_t image_number = UINT32_MAX, second_ref = 1U << 31, unseen_blob = 1U << 30,
                               third_ref = 1U << 29;
inline constexpr std::size_t max_publisher_packet = 128 * 1024;
inline constexpr std::size_t max_placements = 2000, max_announced = 1024;
static_assert(sizeof(PublisherHead) + max_placements * sizeof(Placement) <= max_publisher_packet);
static_assert(sizeof(PublisherHead) + max_announced * sizeof(AnnouncedLayer) + max_signature_rule <=
              max_publisher_packet);
inline constexpr const char* staged_record = "record";

}  // namespace imaged
