// SPDX-License-Identifier: Apache-2.0
// The least work that any importer of an image has, to hold a pull against:
//   floor stream BLOB…        decompresses the layers and hashes what comes out, once, on one core
//   floor files LIST DIR N    creates the object files that LIST names, on N threads, and makes them durable
// LIST has a line for each object: MODE UID GID SIZE XATTRS, mode in octal and sizes in bytes. DIR is a new directory
// on the file system in question. Each prints the wall seconds it took, or more of them than one step.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/cancellation.hpp"
#include "base/checksum.hpp"
#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "layer/decompressor.hpp"

namespace {

using namespace imaged;

constexpr std::size_t block_bytes = 256 * 1024;

void stream(const std::vector<std::string>& blobs) {
    const Cancellation cancellation;
    std::vector<std::byte> block(block_bytes);
    for (const auto& blob : blobs) {
        const auto file = open_at(AT_FDCWD, blob, O_RDONLY);
        DescriptorSource compressed(file.get(), cancellation, {std::chrono::seconds(30)});
        const auto content = decompress(compressed);
        Sha256 hash;
        while (const auto count = content->read(block)) hash.update(std::span(block).first(count));
        std::printf("sha256:%s\n", hash.finish().hex().c_str());
    }
}

struct Object {
    unsigned mode, uid, gid;
    std::size_t size, xattrs;
};

std::vector<Object> read_list(const std::string& path) {
    std::ifstream file(path);
    std::vector<Object> objects;
    Object object{};
    while (file >> std::oct >> object.mode >> std::dec >> object.uid >> object.gid >> object.size >> object.xattrs)
        objects.push_back(object);
    if (objects.empty()) throw Error(ErrorKind::failed, path + " names no objects");
    return objects;
}

void create(int staging, int objects, std::size_t number, const Object& object, std::span<const std::byte> content) {
    char name[64], target[64];
    // Spread as checksums are.
    const auto spread = static_cast<unsigned long long>(number) * 0x9e3779b97f4a7c15ULL;
    std::snprintf(name, sizeof name, "%016llx.file", spread);
    std::snprintf(target, sizeof target, "%02llx/%016llx.file", spread >> 56, spread);
    if (S_ISLNK(object.mode)) {
        const std::string link(std::max<std::size_t>(object.size, 1), 'x');
        if (::symlinkat(link.c_str(), staging, name) != 0 ||
            ::fchownat(staging, name, object.uid, object.gid, AT_SYMLINK_NOFOLLOW) != 0)
            throw_errno("create a symbolic link");
    } else {
        const FileDescriptor file(::openat(staging, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!file) throw_errno("create a file");
        for (std::size_t left = object.size; left > 0;) {
            const auto piece = content.first(std::min(left, content.size()));
            write_all(file.get(), piece, "a file");
            left -= piece.size();
        }
        if ((object.uid != 0 || object.gid != 0) && ::fchown(file.get(), object.uid, object.gid) != 0)
            throw_errno("chown");
        if (::fchmod(file.get(), object.mode & 07777) != 0) throw_errno("chmod");
        if (object.xattrs > 0 && ::fsetxattr(file.get(), "user.floor", content.data(), object.xattrs, 0) != 0)
            throw_errno("setxattr");
    }
    if (::renameat(staging, name, objects, target) != 0) throw_errno("rename");
}

void files(const std::string& list, const std::string& directory, unsigned threads) {
    const auto wanted = read_list(list);
    std::vector<std::byte> content(1 << 20);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 131 >> 3);
    const auto make = [&](const std::string& name) {
        if (::mkdir(name.c_str(), 0755) != 0) throw_errno("mkdir " + name);
        return open_at(AT_FDCWD, name, O_RDONLY | O_DIRECTORY);
    };
    const auto root = make(directory);
    const auto objects = make(directory + "/objects");
    for (unsigned i = 0; i < 256; ++i) {
        char name[8];
        std::snprintf(name, sizeof name, "%02x", i);
        make(directory + "/objects/" + name);
    }
    std::atomic<std::size_t> next = 0;
    std::vector<std::thread> workers;
    for (unsigned i = 0; i < threads; ++i) {
        workers.emplace_back([&, i] {
            const auto staging = make(directory + "/staging-" + std::to_string(i));
            for (auto number = next++; number < wanted.size(); number = next++)
                create(staging.get(), objects.get(), number, wanted[number], content);
        });
    }
    for (auto& worker : workers) worker.join();
    if (::syncfs(root.get()) != 0) throw_errno("syncfs");
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> arguments(words + 1, words + count);
    try {
        const auto start = std::chrono::steady_clock::now();
        if (arguments.size() >= 2 && arguments[0] == "stream") {
            stream({arguments.begin() + 1, arguments.end()});
        } else if (arguments.size() == 4 && arguments[0] == "files") {
            files(arguments[1], arguments[2], static_cast<unsigned>(std::stoul(arguments[3])));
        } else {
            std::fputs("usage: floor stream BLOB… | floor files LIST DIRECTORY THREADS\n", stderr);
            return 2;
        }
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        std::printf("seconds %.4f\n", taken.count());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "floor: %s\n", error.what());
        return 1;
    }
}
