// SPDX-License-Identifier: Apache-2.0
#include "layer/zstd-writer.hpp"

#include <string>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::size_t output_bytes = 256 * 1024;

}  // namespace

ZstdContext make_zstd_context() {
    ZstdContext context(ZSTD_createCCtx());
    if (!context) throw Error(ErrorKind::failed, "zstd cannot start");
    return context;
}

std::size_t check_zstd(std::size_t result) {
    if (ZSTD_isError(result) != 0) throw Error(ErrorKind::failed, std::string("zstd: ") + ZSTD_getErrorName(result));
    return result;
}

ZstdWriter::ZstdWriter(ByteSink& sink, std::initializer_list<std::pair<ZSTD_cParameter, int>> parameters)
    : sink_(sink), context_(make_zstd_context()), output_(output_bytes) {
    for (const auto& [parameter, value] : parameters)
        check_zstd(ZSTD_CCtx_setParameter(context_.get(), parameter, value));
}

void ZstdWriter::write(std::span<const std::byte> bytes) {
    run(bytes, ZSTD_e_continue);
    open_ = true;
}

void ZstdWriter::finish() {
    run({}, ZSTD_e_end);
    open_ = false;
}

void ZstdWriter::run(std::span<const std::byte> bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
    for (bool more = true; more;) {
        ZSTD_outBuffer output{output_.data(), output_.size(), 0};
        const auto left = check_zstd(ZSTD_compressStream2(context_.get(), &output, &input, directive));
        if (output.pos > 0) sink_.write(std::span<const std::byte>(output_).first(output.pos));
        more = directive == ZSTD_e_end ? left != 0 : input.pos < input.size;
    }
}

}  // namespace imaged
