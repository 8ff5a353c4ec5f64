// SPDX-License-Identifier: Apache-2.0
// Writes tar streams, the same bytes for the same entries: no times, no names of users, no padding beyond the end
// marker.
//
// Two styles (POSIX.1-2001 "pax", and GNU tar's manual, "Basic Tar Format"): pax for layers of files, with extended
// attributes as SCHILY.xattr records; gnu for layers of OSTree objects, byte for byte as ostree-ext writes them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "layer/byte-sink.hpp"

namespace imaged {

enum class TarStyle { pax, gnu };

struct TarItem {
    enum class Type : char { file = '0', hardlink = '1', symlink = '2', directory = '5' };
    Type type = Type::file;
    std::string path;         // as it is to be read; directories with a last slash or without
    std::string target = {};  // of a link
    std::uint32_t mode = 0;   // permission bits
    std::uint32_t uid = 0, gid = 0;
    std::uint64_t size = 0;                                        // of what follows
    std::vector<std::pair<std::string, std::string>> xattrs = {};  // pax only
    // gnu only: a longer path whose end stays visible behind this one's, as ostree-ext's tar library leaves it. Nobody
    // reads it; the bytes are the same with it.
    std::string earlier_path = {};
};

// Called after the headers of ITEM were written, before its content. For sinks that need to know where entries are.
using TarEntryHook = std::function<void(const TarItem& item)>;

class TarWriter {
public:
    // Borrows the sink.
    TarWriter(ByteSink& sink, TarStyle style, TarEntryHook entry = {})
        : sink_(sink), style_(style), entry_(std::move(entry)) {}

    // The content of the item before must be complete.
    void begin(const TarItem& item);
    void content(std::span<const std::byte> piece);
    // An item and its whole content.
    void add(TarItem item, std::string_view content = {});
    // The end marker.
    void finish();

private:
    void write_header(char type, std::string_view name, std::string_view target, const TarItem& item);
    void write_padded(std::string_view bytes);
    void write_extension(const TarItem& item);
    void write_long(char type, std::string_view text);

    ByteSink& sink_;
    const TarStyle style_;
    const TarEntryHook entry_;
    std::uint64_t left_ = 0, written_ = 0;  // of the current content
};

}  // namespace imaged
