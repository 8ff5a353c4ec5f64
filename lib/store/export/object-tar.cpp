// SPDX-License-Identifier: Apache-2.0
#include "store/export/object-tar.hpp"

#include <vector>

#include "base/error.hpp"

namespace imaged {

namespace {

constexpr std::size_t content_piece_bytes = 256 * 1024;

}  // namespace

void take_owner(TarItem& item, const FileMeta& meta) {
    item.mode = meta.mode & 07777;
    item.uid = meta.uid;
    item.gid = meta.gid;
}

void add_object(TarWriter& tar, TarItem item, FileObject& object, const Checksum& checksum,
                const Cancellation& cancellation) {
    cancellation.check();
    const auto& meta = object.meta();
    item.type = object.is_symlink() ? TarItem::Type::symlink : TarItem::Type::file;
    take_owner(item, meta);
    item.size = object.size();
    item.target = object.target();
    tar.begin(item);
    Sha256 hash;
    hash.update(file_header(meta, object.target()));
    std::vector<std::byte> buffer(std::min<std::uint64_t>(object.size(), content_piece_bytes));
    for (std::uint64_t left = object.size(); left > 0;) {
        const auto count = object.read(std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size())));
        if (count == 0) break;
        cancellation.check();
        const auto piece = std::span<const std::byte>(buffer).first(count);
        hash.update(piece);
        tar.content(piece);
        left -= count;
    }
    if (hash.finish() != checksum)
        throw Error(ErrorKind::repository_damaged, "object " + checksum.hex() + ".file is corrupt");
}

}  // namespace imaged
