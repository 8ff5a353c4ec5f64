// SPDX-License-Identifier: Apache-2.0
// A packet of skopeo's image proxy; the first byte is the number of descriptors that came with it.
#include "source/proxy/proxy-reply.hpp"

#include "input.hpp"

using namespace imaged;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    fuzz::accepted([&] {
        const auto reply = parse_proxy_reply(fuzz::text(data + 1, size - 1), data[0] % 4, "GetBlob");
        fuzz::require((reply.pipe_id != 0) == (data[0] % 4 == 1), "a pipe comes with its number");
    });
    return 0;
}
