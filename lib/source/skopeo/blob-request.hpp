// SPDX-License-Identifier: Apache-2.0
// The messages on the channel of a service that reads blobs of a registry (SkopeoRequest::Kind::blobs): a packet for
// some ranges of a blob, with two pipes. The service writes the bytes of them to the first, and to the second a line of
// JSON each time that it has something to say: that the bytes begin, that some come again (before it writes them), then
// how it ended. It answers nothing else.
//
// The worker verifies what comes: the service is not trusted.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/blob-range.hpp"
#include "base/error.hpp"
#include "oci/digest.hpp"

namespace imaged {

struct BlobRequest {
    Digest digest;
    std::uint64_t size = 0;  // of the whole blob
    // The wanted parts of the blob: at least one, in ascending order, none empty, no two of them overlapping.
    std::vector<BlobRange> ranges;
    // Longest wait of the worker for the next byte.
    std::chrono::milliseconds stall_time{};
};

struct BlobReport {
    enum class State {
        started,         // the registry has answered, and the bytes follow
        moved,           // what follows in the stream is not what comes next, but was written before
        done,            // all of them are written
        left_to_skopeo,  // something is not understood here; nothing was written
        failed,
    };
    State state = State::failed;
    ErrorKind kind = ErrorKind::failed;  // of a failure
    std::string message = {};
    // For State::moved: the first AFTER bytes of the stream are followed by those from OFFSET on of what was asked for.
    std::uint64_t after = 0, offset = 0;
    bool several = false;  // whether the registry gives more than one range in an answer, if so many were asked for
    std::chrono::milliseconds pause{};  // of a failure: as Error::pause()
};

// The descriptors of a packet: for the bytes, for the reports.
inline constexpr std::size_t blob_descriptors = 2;
inline constexpr std::size_t max_blob_report_bytes = 4096;
// The most ranges of one request. With them, the header of a request to a registry is shorter than 2 KiB.
inline constexpr std::size_t max_blob_ranges = 32;

// One packet or line, and back. Both readers throw Error(failed) for what is none.
std::string encode(const BlobRequest& request);
BlobRequest decode_blob_request(std::string_view packet);
std::string encode(const BlobReport& report);
BlobReport decode_blob_report(std::string_view line);

}  // namespace imaged
