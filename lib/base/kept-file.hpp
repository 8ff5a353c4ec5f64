// SPDX-License-Identifier: Apache-2.0
// Files that callers pass as descriptors, each held by another process, its keeper.
//
// close(2) of a file waits for the server of its file system (FUSE: FLUSH), for as long as that server wants, and no
// signal ends this. The same holds for a dup(2) of it, for what exec(2) closes, and for the end of a process. A process
// that others wait for therefore has a socket to the keeper in place of the descriptor: it can be closed, copied
// and passed on like any descriptor. The keeper sends two packets, the facts and the file, and ends when nobody has the
// socket any more.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/file-descriptor.hpp"

namespace imaged {

// The kernel's knowledge of a kept file. The server of its file system was not asked, so the size may be outdated.
struct FileFacts {
    mode_t mode = 0;
    int flags = 0;  // as F_GETFL gives them
    std::uint64_t size = 0, inode = 0;
    std::uint32_t device_major = 0, device_minor = 0;
};

// A packet of the facts, which is the first that a keeper sends, or that is sent in its place: nobody keeps the file.
void refuse_file(int keeper_end);

// The facts of the file that SOCKET stands for. Throws Error(invalid_argument) naming WHAT where the file cannot be
// examined or SOCKET stands for none, Error(queue_full) if no keeper has it. Does not wait.
FileFacts facts_of(const std::string& what, int socket);

// The file that SOCKET stands for, if it lies in a file system that no user can serve; for any other one a pipe, to
// which the keeper writes its content from its beginning, and which an error of reading ends. Once only. Throws
// Error(failed) where the keeper does not answer within seconds.
FileDescriptor take_kept_file(const FileDescriptor& socket);

// For a process of its own: keeps the descriptors that come with the next byte of STREAM, which stays in STREAM, for
// the sockets whose other ends are SOCKETS, in their order; READY is closed when they have been taken. Ends the process
// when nobody has the other ends.
[[noreturn]] void keep_files(int stream, std::span<const int> sockets, int ready) noexcept;

}  // namespace imaged
