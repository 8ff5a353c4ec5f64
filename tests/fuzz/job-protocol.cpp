// SPDX-License-Identifier: Apache-2.0
// A line from the daemon or from the worker; what is understood is understood again when it is said anew.
#include "input.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto line = fuzz::text(data, size);
    fuzz::accepted([&] {
        const auto request = job::decode_request(line);
        fuzz::require(job::decode_request(job::encode(request)) == request, "a request survives being said");
    });
    fuzz::accepted([&] {
        const auto message = job::decode_message(line);
        const auto said = job::encode(message);
        fuzz::require(said.find('\n') == said.size() - 1, "a message is one line");
        fuzz::require(job::encode(job::decode_message(said)) == said, "a message survives being said");
    });
    return 0;
}
