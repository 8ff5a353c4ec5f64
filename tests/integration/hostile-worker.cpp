// SPDX-License-Identifier: Apache-2.0
// A worker that an image has taken over: it confines itself as imaged-worker does, then tries what an attacker would
// try. Its result says of each attempt "done" or why it was not. The request's arguments name what there is to attack.
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "base/json.hpp"
#include "job/job.hpp"
#include "job/kinds.hpp"
#include "sandbox.hpp"
#include "store/files/publisher-protocol.hpp"

namespace {

using namespace imaged;

constexpr int channel = 3;

std::string read_line() {
    std::string line;
    for (char c = 0; ::read(channel, &c, 1) == 1;) {
        line += c;
        if (c == '\n') break;
    }
    return line;
}

// What the test asks for beside the job, in the environment as JSON.
std::string asked(const char* key) {
    static const auto all = parse_json(std::getenv("HOSTILE_ARGUMENTS"));
    return all.value(key, "");
}

class Attempts {
public:
    // TRY gives what a system call gives: a negative number is an error.
    void attempt(const std::string& name, const std::function<long()>& attempted) {
        errno = 0;
        results_[name] = attempted() < 0 ? std::string(errno != 0 ? ::strerrorname_np(errno) : "failed") : "done";
    }
    void note(const std::string& name, const std::string& value) { results_[name] = value; }
    const nlohmann::json& results() const { return results_; }

private:
    nlohmann::json results_ = nlohmann::json::object();
};

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), std::min(path.size() + 1, sizeof address.sun_path - 1));
    if (path.starts_with('@')) address.sun_path[0] = '\0';
    return address;
}

long connect_to(const std::string& path, int type) {
    const FileDescriptor file(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const auto address = address_of(path);
    return file ? ::connect(file.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) : -1;
}

long send_by_pair(const std::string& path) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return -1;
    const auto address = address_of(path);
    return ::sendto(pair[0], "x", 1, 0, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

long open_for(const std::string& path, int flags) {
    const FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    return file ? 0 : -1;
}

// For what is made although it need not be.
void ignore(long) {}

std::string names_in(const std::string& path) {
    std::string seen;
    if (auto* const list = ::opendir(path.c_str())) {
        while (const auto* entry = ::readdir(list)) {
            if (entry->d_name[0] != '.') seen += std::string(entry->d_name) + " ";
        }
        ::closedir(list);
    }
    return seen;
}

void try_sockets(Attempts& attempts) {
    for (const auto* key : {"socket", "private-socket", "abstract-socket"}) {
        const auto path = asked(key);
        attempts.attempt(std::string("connect ") + key, [&] { return connect_to(path, SOCK_STREAM); });
        attempts.attempt(std::string("packet ") + key, [&] { return connect_to(path, SOCK_SEQPACKET); });
        attempts.attempt(std::string("datagram ") + key, [&] { return send_by_pair(path); });
    }
    attempts.attempt("internet", [] { return ::socket(AF_INET, SOCK_STREAM, 0); });
    attempts.attempt("netlink", [] { return ::socket(AF_NETLINK, SOCK_RAW, 0); });
    attempts.attempt("vsock", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0); });
    attempts.note("run", names_in("/run"));
}

// Every process but this one that /proc shows.
std::string foreign_processes() {
    std::string seen;
    auto* const list = ::opendir("/proc");
    if (list == nullptr) return seen;
    while (const auto* entry = ::readdir(list)) {
        const long number = std::strtol(entry->d_name, nullptr, 10);
        if (number > 0 && number != ::getpid()) seen += std::string(entry->d_name) + " ";
    }
    ::closedir(list);
    return seen;
}

void try_processes(Attempts& attempts) {
    // Never signals or traces anything when the sandbox did not hold: that would reach every process of the machine.
    if (::getpid() != 1) {
        attempts.note("signal all", "not tried: it is not the first process of a PID namespace");
        attempts.note("processes", foreign_processes());
        return;
    }
    attempts.note("processes", foreign_processes());
    const auto victim = static_cast<pid_t>(std::atoi(asked("victim").c_str()));
    for (const pid_t process : {victim, ::getppid()}) {
        const std::string of = process == victim ? " victim" : " parent",
                          directory = "/proc/" + std::to_string(process);
        // The parent of a namespace's first process has the number 0 there, which means something else to kill(2).
        if (process > 0) attempts.attempt("signal" + of, [&] { return ::kill(process, 0); });
        attempts.attempt("trace" + of, [&] { return ::ptrace(PTRACE_ATTACH, process, nullptr, nullptr); });
        attempts.attempt("pidfd" + of, [&] { return ::syscall(SYS_pidfd_open, process, 0); });
        attempts.attempt("memory" + of, [&] { return open_for(directory + "/mem", O_RDWR); });
        attempts.attempt("descriptors" + of, [&] { return open_for(directory + "/fd", O_RDONLY | O_DIRECTORY); });
        attempts.attempt("root" + of, [&] { return open_for(directory + "/root/etc", O_RDONLY | O_DIRECTORY); });
        attempts.attempt("read memory" + of, [&] {
            char byte = 0;
            iovec ours{&byte, 1}, theirs{const_cast<int*>(&channel), 1};
            return ::process_vm_readv(process, &ours, 1, &theirs, 1, 0);
        });
    }
    // Its process group must be its own, or kill(0, …) would reach the parent.
    attempts.attempt("group of others", [] { return ::getpgrp() == ::getpid() ? (errno = ESRCH, -1) : 0; });
    ::signal(SIGUSR1, SIG_IGN);
    attempts.attempt("signal all", [] { return ::kill(-1, SIGUSR1); });
}

void try_files(const job::Request& request, Attempts& attempts) {
    const auto outside = asked("outside"), config = request.repository + "/config";
    attempts.attempt("create outside", [&] { return open_for(outside + "/new", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("write outside", [&] { return open_for(outside + "/there", O_WRONLY); });
    attempts.attempt("link outside", [&] { return ::link((outside + "/there").c_str(), (outside + "/link").c_str()); });
    attempts.attempt("write /etc", [] { return open_for("/etc/imaged-was-here", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("write /run", [] { return open_for("/run/imaged-was-here", O_WRONLY | O_CREAT | O_EXCL); });
    attempts.attempt("core pattern", [] { return open_for("/proc/sys/kernel/core_pattern", O_WRONLY); });
    attempts.attempt("sysrq", [] { return open_for("/proc/sysrq-trigger", O_WRONLY); });
    attempts.attempt("write configuration", [&] { return open_for(config, O_WRONLY); });
    attempts.attempt("replace configuration", [&] {
        const auto forged = request.repository + "/tmp/forged";
        if (open_for(forged, O_WRONLY | O_CREAT) < 0) return -1;
        return ::rename(forged.c_str(), config.c_str());
    });
    attempts.attempt("remove configuration", [&] { return ::unlink(config.c_str()); });
    attempts.attempt("device", [&] { return ::mknod("/tmp/device", S_IFBLK | 0600, makedev(7, 0)); });
    for (const auto* device : {"/dev/mem", "/dev/sda", "/dev/vda", "/dev/loop0", "/dev/loop-control", "/dev/kmsg"})
        attempts.attempt(device, [&] { return open_for(device, O_RDWR); });
}

// Temporary files of its own, of other jobs, and what it was asked to read there.
void try_temporary_files(Attempts& attempts) {
    const auto other = asked("other-job"), layout = asked("layout");
    attempts.note("temporary files", names_in("/tmp") + names_in("/var/tmp"));
    attempts.attempt("read other job", [&] { return open_for(other + "/blob", O_RDONLY); });
    attempts.attempt("write other job", [&] { return open_for(other + "/blob", O_WRONLY); });
    attempts.attempt("replace in other job", [&] { return open_for(other + "/new", O_WRONLY | O_CREAT); });
    if (!layout.empty()) {
        attempts.attempt("own source is read", [&] { return open_for(layout + "/index.json", O_RDONLY); });
        attempts.attempt("write source", [&] { return open_for(layout + "/index.json", O_WRONLY); });
        attempts.attempt("create in source", [&] { return open_for(layout + "/new", O_WRONLY | O_CREAT); });
        attempts.attempt("move source", [&] { return ::rename(layout.c_str(), "/var/tmp/moved"); });
    }
    // What is hard to remove.
    for (const std::string directory : {"/tmp", "/var/tmp"}) {
        attempts.attempt("own file in " + directory,
                         [&] { return open_for(directory + "/" + asked("mark"), O_WRONLY | O_CREAT); });
        attempts.attempt("own directory in " + directory, [&] {
            const auto closed = directory + "/closed", inner = closed + "/inner";
            if (::mkdir(closed.c_str(), 0700) != 0 || ::mkdir(inner.c_str(), 0700) != 0) return -1;
            if (open_for(inner + "/file", O_WRONLY | O_CREAT) < 0) return -1;
            ignore(::chown(inner.c_str(), 1, 1));
            return ::chmod(inner.c_str(), 0) < 0 ? -1 : ::chmod(closed.c_str(), 0);
        });
    }
}

// What a job that reads an image has its repository changed by, used by hand.
class PublisherChannel {
public:
    explicit PublisherChannel(int channel) : channel_(channel) {}

    struct Answer {
        std::string text;  // "done", or what was refused
        std::uint32_t number = 0;
        FileDescriptor descriptor;
    };
    Answer send(const std::string& packet) const {
        if (::send(channel_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) return {::strerrorname_np(errno)};
        PublisherAnswer head{};
        char text[max_answer_text];
        iovec parts[2] = {{&head, sizeof head}, {text, sizeof text}};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = 2;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const auto size = ::recvmsg(channel_, &message, MSG_CMSG_CLOEXEC);
        if (size < static_cast<ssize_t>(sizeof head)) return {"no answer"};
        Answer answer{"done", head.number};
        if (head.outcome != PublisherAnswer::Outcome::done)
            answer.text = "refused: " + std::string(text, static_cast<std::size_t>(size) - sizeof head);
        if (const auto* const header = CMSG_FIRSTHDR(&message)) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
            answer.descriptor.reset(descriptor);
        }
        return answer;
    }
    Answer ask(PublisherCall call, std::uint32_t number = 0, const Checksum& checksum = {},
               const std::string& rest = {}) const {
        const PublisherHead head{call, number, checksum};
        return send(std::string(reinterpret_cast<const char*>(&head), sizeof head) + rest);
    }
    Answer place(std::uint32_t scratch, const Placement& placement) const {
        return ask(PublisherCall::place, scratch, {}, bytes(placement));
    }
    template <typename T>
    static std::string bytes(const T& value) {
        return {reinterpret_cast<const char*>(&value), sizeof value};
    }

private:
    const int channel_;
};

Checksum checksum_in(const char* key) {
    return Checksum::from_hex(asked(key)).value_or(Checksum{});
}

Checksum made_up(std::uint8_t first) {
    Checksum checksum;
    checksum.bytes.fill(0x5a);
    checksum.bytes[0] = first;
    return checksum;
}

long write_file(int directory, const std::string& name, const std::string& text) {
    const FileDescriptor file(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    return file ? ::write(file.get(), text.data(), text.size()) : -1;
}

std::string own_path(int descriptor) {
    return "/proc/self/fd/" + std::to_string(descriptor);
}

// What is in the repository, by the file system.
void try_repository(const job::Request& request, Attempts& attempts) {
    const auto repository = request.repository, object = repository + "/" + asked("object"),
               ref = repository + "/" + asked("ref"), record = repository + "/" + asked("record"),
               tmp = "/tmp/imaged-hostile-" + std::to_string(::getppid()) + asked("victim");
    for (const auto& [name, path] : {std::pair("object", object), {"ref", ref}, {"record", record}}) {
        const std::string of = std::string(" ") + name, file = path;
        attempts.attempt("open" + of, [&] { return open_for(file, O_WRONLY); });
        attempts.attempt("truncate" + of, [&] { return ::truncate(file.c_str(), 0); });
        attempts.attempt("chmod" + of, [&] { return ::chmod(file.c_str(), 0777); });
        attempts.attempt("chown" + of, [&] { return ::chown(file.c_str(), 1, 1); });
        attempts.attempt("label" + of, [&] { return ::setxattr(file.c_str(), "user.x", "x", 1, 0); });
        attempts.attempt("touch" + of, [&] { return ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0); });
        attempts.attempt("remove" + of, [&] { return ::unlink(file.c_str()); });
        attempts.attempt("link" + of, [&] { return ::link(file.c_str(), (tmp + name).c_str()); });
        attempts.attempt("take" + of, [&] { return ::rename(file.c_str(), (tmp + name).c_str()); });
        attempts.attempt("replace" + of, [&] {
            if (write_file(AT_FDCWD, tmp, "x") < 0) return -1;
            const auto result = ::rename(tmp.c_str(), file.c_str());
            ::unlink(tmp.c_str());
            return result;
        });
        attempts.attempt("open again" + of, [&] {
            const FileDescriptor held(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
            return open_for(own_path(held.get()), O_WRONLY);
        });
        attempts.attempt("link again" + of, [&] {
            const FileDescriptor held(::open(file.c_str(), O_PATH | O_CLOEXEC));
            return ::linkat(AT_FDCWD, own_path(held.get()).c_str(), AT_FDCWD, (tmp + name).c_str(), AT_SYMLINK_FOLLOW);
        });
        attempts.attempt("by the root's link" + of, [&] { return open_for("/proc/1/root" + file, O_WRONLY); });
        attempts.attempt("by the working directory" + of, [&] { return open_for("/proc/1/cwd" + file, O_WRONLY); });
    }
    for (const auto* name :
         {"/refs/heads/new", "/extensions/new", "/tmp/new", "/objects/new", "/objects/00/new", "/new"})
        attempts.attempt(std::string("create ") + name,
                         [&] { return open_for(repository + name, O_WRONLY | O_CREAT | O_EXCL); });
    struct mount_attr writable {};
    writable.attr_clr = MOUNT_ATTR_RDONLY;
    attempts.attempt("mount_setattr", [&] {
        return ::syscall(SYS_mount_setattr, AT_FDCWD, repository.c_str(), AT_RECURSIVE, &writable, sizeof writable);
    });
    attempts.attempt("remount repository",
                     [&] { return ::mount(nullptr, repository.c_str(), nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempts.attempt("open_tree",
                     [&] { return ::syscall(SYS_open_tree, AT_FDCWD, repository.c_str(), 1 /* OPEN_TREE_CLONE */); });
    attempts.attempt("move_mount",
                     [&] { return ::syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, repository.c_str(), 0); });
    attempts.attempt("fsopen", [] { return ::syscall(SYS_fsopen, "tmpfs", 0); });
}

// By what the publisher would have to refuse. What should succeed has a name with "own".
void try_publisher(const job::Request& request, Attempts& attempts) {
    const PublisherChannel publisher(*request.publisher);
    const auto say = [&](const std::string& name, const PublisherChannel::Answer& answer) {
        attempts.note(name, answer.text);
    };
    const Checksum missing = made_up(1), commit = checksum_in("commit"), other = checksum_in("other");
    say("lock before it begins", publisher.ask(PublisherCall::lock));
    // What the job began with before it was taken over; with the other it could replace what is recorded.
    const auto moved_var = asked("var") == "moved" ? 1U : 0U;
    say("own beginning", publisher.ask(PublisherCall::begin, moved_var));
    say("another beginning", publisher.ask(PublisherCall::begin, 1 - moved_var));
    say("scratch without a lock", publisher.ask(PublisherCall::make_scratch));
    say("ref without a lock", publisher.ask(PublisherCall::set_ref, image_number, commit));
    say("own lock", publisher.ask(PublisherCall::lock));
    // Malformed.
    say("empty head", publisher.send("x"));
    say("huge packet", publisher.send(std::string(200'000, 'x')));
    say("more than a head", publisher.ask(PublisherCall::lock, 0, {}, "x"));
    say("unknown request", publisher.ask(static_cast<PublisherCall>(999)));
    say("scratch that is not there", publisher.ask(PublisherCall::place, 999));
    say("removed scratch that is not there", publisher.ask(PublisherCall::remove_scratch, 999));
    say("image before it is announced", publisher.ask(PublisherCall::set_ref, image_number, commit));
    say("record before it is announced", publisher.ask(PublisherCall::add_record, image_number, commit));
    AnnouncedLayer layer{checksum_in("blob"), checksum_in("diff-id"), LayerKind::chunk};
    auto wrong = layer;
    wrong.kind = static_cast<LayerKind>(9);
    say("kind of a layer", publisher.ask(PublisherCall::announce, 0, missing, publisher.bytes(wrong)));
    say("half a layer", publisher.ask(PublisherCall::announce, 0, missing, publisher.bytes(layer).substr(1)));
    std::string many;
    for (int i = 0; i < 1025; ++i) many += publisher.bytes(layer);
    say("too many layers", publisher.ask(PublisherCall::announce, 0, missing, many));
    // Another image's manifest, for which it then makes a record of its own.
    const auto image = checksum_in("image");
    const AnnouncedLayer derived{checksum_in("derived-blob"), checksum_in("derived-diff-id"), LayerKind::derived};
    const auto layers = publisher.bytes(layer) + publisher.bytes(derived);
    // Blobs of other images, with a content for which it would record what it likes.
    for (const auto& [blob, name] : {std::pair{layer.blob, "other's chunk blob with another content"},
                                     std::pair{derived.blob, "other's derived blob with another content"}}) {
        for (const auto as : {LayerKind::chunk, LayerKind::derived, LayerKind::commit})
            say(std::string(name) + ", kind " + std::to_string(static_cast<int>(as)),
                publisher.ask(PublisherCall::announce, 0, image,
                              publisher.bytes(AnnouncedLayer{blob, made_up(3), as})));
    }
    const std::string rule = "insecureAcceptAnything (default)", better = "signedBy (docker: registry.example)";
    const auto announce = [&](const std::string& announced, std::size_t length) {
        return publisher.ask(PublisherCall::announce, static_cast<std::uint32_t>(length), image, layers + announced);
    };
    say("rule longer than what is sent", announce("", layers.size() + 1));
    say("rule of layers", announce(rule, rule.size() - 1));
    say("huge rule", announce(std::string(2000, 'x'), 2000));
    say("own announcement", announce(rule, rule.size()));
    say("another rule", announce(better, better.size()));
    say("no rule any more", announce("", 0));
    say("another announcement", publisher.ask(PublisherCall::announce, 0, commit, layers));
    say("own record of an image", publisher.ask(PublisherCall::add_record, image_number, other));
    // Refs and records.
    say("ref of a layer that was not announced", publisher.ask(PublisherCall::set_ref, 2, commit));
    say("ref to a commit that is missing", publisher.ask(PublisherCall::set_ref, image_number, missing));
    say("other's layer", publisher.ask(PublisherCall::set_ref, 0, other));
    say("other's record", publisher.ask(PublisherCall::add_record, 0, other));
    // A derived layer that its image shares with another, which would be made of OTHER the next time.
    say("record of a shared derived layer", publisher.ask(PublisherCall::add_record, 1, other));
    say("ref of a shared derived layer", publisher.ask(PublisherCall::set_ref, 1, other));
    say("second ref of a shared derived layer", publisher.ask(PublisherCall::set_ref, 1 | second_ref, other));
    say("second ref of a shared chunk layer", publisher.ask(PublisherCall::set_ref, second_ref, other));
    say("objects' ref of a shared chunk layer", publisher.ask(PublisherCall::set_ref, third_ref, other));
    say("objects' ref of a derived layer", publisher.ask(PublisherCall::set_ref, 1 | third_ref, other));
    say("record of a commit that is missing", publisher.ask(PublisherCall::add_record, image_number, missing));
    say("drop layers under the lock", publisher.ask(PublisherCall::drop_layers));

    // Objects. Each in a scratch directory of its own, whose directory 0 gets what MAKE makes.
    const auto staged = [&](const std::string& name, const Placement& placement,
                            const std::function<void(int, const std::string&)>& make) {
        auto scratch = publisher.ask(PublisherCall::make_scratch);
        if (!scratch.descriptor) return say(name, scratch);
        ::mkdirat(scratch.descriptor.get(), "0", 0755);
        const FileDescriptor directory(::openat(scratch.descriptor.get(), "0", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        const bool has_name = static_cast<unsigned>(placement.type) < placed_types;
        make(directory.get(), has_name ? staged_name(placement.checksum, placement.type) : placement.checksum.hex());
        say(name, publisher.place(scratch.number, placement));
        publisher.ask(PublisherCall::remove_scratch, scratch.number);
    };
    const auto file = [](int directory, const std::string& name) { write_file(directory, name, "evil"); };
    staged("own object that is there", {checksum_in("object-checksum"), PlacedType::file, 0}, file);
    staged("metadata of another's commit", {commit, PlacedType::commitmeta, 0}, file);
    staged("type", {made_up(2), static_cast<PlacedType>(99), 0}, file);
    staged("directory that is not there", {made_up(2), PlacedType::file, 200}, file);
    staged("nothing", {made_up(2), PlacedType::file, 0}, [](int, const std::string&) {});
    for (const auto& [type, name] : {std::pair(PlacedType::commit, "commit"), std::pair(PlacedType::dirtree, "dirtree"),
                                     std::pair(PlacedType::dirmeta, "dirmeta")}) {
        staged(std::string("wrong ") + name, {made_up(2), type, 0}, file);
        staged(std::string("own ") + name, {sha256("evil"), type, 0}, file);
        const std::string large(10 * 1024 * 1024 + 1, 'x');
        staged(std::string("large ") + name, {sha256(large), type, 0},
               [&](int directory, const std::string& staged_as) { write_file(directory, staged_as, large); });
    }
    staged("fifo", {made_up(2), PlacedType::file, 0},
           [](int directory, const std::string& name) { ::mkfifoat(directory, name.c_str(), 0644); });
    staged("directory", {made_up(2), PlacedType::file, 0},
           [](int directory, const std::string& name) { ::mkdirat(directory, name.c_str(), 0755); });
    staged("two names", {made_up(2), PlacedType::file, 0}, [&](int directory, const std::string& name) {
        write_file(directory, name, "x");
        ignore(::linkat(directory, name.c_str(), directory, "second", 0));
    });
    staged("link as a commit", {made_up(2), PlacedType::commit, 0},
           [](int directory, const std::string& name) { ignore(::symlinkat("/etc/shadow", directory, name.c_str())); });
    staged("other's commit object", {made_up(2), PlacedType::commit, 0}, [](int directory, const std::string& name) {
        write_file(directory, name, "x");
        ignore(::fchownat(directory, name.c_str(), 1, 1, 0));
    });
    staged("link as a directory", {made_up(2), PlacedType::file, 7},
           [](int directory, const std::string&) { ignore(::symlinkat("/etc", directory, "../7")); });
    FileDescriptor open;
    staged("open for writing", {made_up(2), PlacedType::file, 0}, [&](int directory, const std::string& name) {
        open.reset(::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    });
    open.reset();
    void* map = nullptr;
    staged("mapped for writing", {made_up(2), PlacedType::file, 0}, [&](int directory, const std::string& name) {
        write_file(directory, name, "x");
        const FileDescriptor mapped(::openat(directory, name.c_str(), O_RDWR | O_CLOEXEC));
        map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.get(), 0);
    });
    ::munmap(map, 4096);

    // An object that was put, by what is still held of it.
    auto scratch = publisher.ask(PublisherCall::make_scratch), second = publisher.ask(PublisherCall::make_scratch);
    const int top = scratch.descriptor.get();
    ::mkdirat(top, "0", 0755);
    ::mkdirat(second.descriptor.get(), "0", 0755);
    const Placement mine{made_up(3), PlacedType::file, 0};
    const auto name = "0/" + staged_name(mine.checksum, mine.type);
    write_file(top, name, "mine");
    attempts.attempt("link into another scratch",
                     [&] { return ::linkat(top, name.c_str(), second.descriptor.get(), "0/x", 0); });
    const FileDescriptor held(::openat(top, name.c_str(), O_RDONLY | O_CLOEXEC)),
        path(::openat(top, name.c_str(), O_PATH | O_CLOEXEC));
    say("own object", publisher.place(scratch.number, mine));
    for (const auto& [of, descriptor] : {std::pair("held", held.get()), {"path", path.get()}}) {
        const auto link = own_path(descriptor), kind = std::string(of);
        attempts.attempt("write by " + kind, [&] { return open_for(link, O_WRONLY); });
        attempts.attempt("truncate by " + kind, [&] { return ::truncate(link.c_str(), 0); });
        attempts.attempt("chmod by " + kind, [&] { return ::chmod(link.c_str(), 0666); });
        attempts.attempt("label by " + kind, [&] { return ::setxattr(link.c_str(), "user.x", "x", 1, 0); });
        for (const int directory : {top, second.descriptor.get()})
            attempts.attempt("link by " + kind + (directory == top ? "" : " into another"),
                             [&] { return ::linkat(AT_FDCWD, link.c_str(), directory, "0/y", AT_SYMLINK_FOLLOW); });
        attempts.attempt("empty link by " + kind,
                         [&] { return ::linkat(descriptor, "", second.descriptor.get(), "0/z", AT_EMPTY_PATH); });
    }
    attempts.attempt("chmod held", [&] { return ::fchmod(held.get(), 0666); });
    attempts.attempt("truncate held", [&] { return ::ftruncate(held.get(), 0); });
    attempts.attempt("create in what was published", [&] { return write_file(top, "0/new", "x"); });
    attempts.attempt("rename in what was published", [&] { return ::renameat(top, "0", top, "1"); });
    say("own object again", publisher.place(scratch.number, mine));

    // A second name that comes and goes while the publisher looks.
    for (std::uint8_t round = 10; round < 60; ++round) {
        auto raced = publisher.ask(PublisherCall::make_scratch);
        ::mkdirat(raced.descriptor.get(), "0", 0755);
        const Placement object{made_up(round), PlacedType::file, 0};
        const auto first = "0/" + staged_name(object.checksum, object.type);
        write_file(raced.descriptor.get(), first, "x");
        std::atomic<bool> ended = false;
        std::thread swap([&] {
            while (!ended) {
                ignore(::linkat(raced.descriptor.get(), first.c_str(), raced.descriptor.get(), "0/second", 0));
                ::renameat2(raced.descriptor.get(), first.c_str(), raced.descriptor.get(), "0/second", RENAME_EXCHANGE);
                ::unlinkat(raced.descriptor.get(), "0/second", 0);
            }
        });
        publisher.place(raced.number, object);
        ended = true;
        swap.join();
    }
    {
        auto link = publisher.ask(PublisherCall::make_scratch);
        ::mkdirat(link.descriptor.get(), "0", 0755);
        ignore(::symlinkat("/etc/shadow", link.descriptor.get(), (std::string("0/") + staged_record).c_str()));
        say("link as the record of what is complete", publisher.ask(PublisherCall::keep_record, link.number));
    }
    // A depth that no recursion survives goes with the scratch directory.
    FileDescriptor held_open(::openat(second.descriptor.get(), "0/open", O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    say("scratch that can be written is removed", publisher.ask(PublisherCall::remove_scratch, second.number));
    held_open.reset();
    if (!asked("limits").empty()) {
        FileDescriptor deep(::fcntl(second.descriptor.get(), F_DUPFD_CLOEXEC, 0));
        for (int i = 0; i < 5000; ++i) {
            ::mkdirat(deep.get(), "d", 0755);
            deep.reset(::openat(deep.get(), "d", O_PATH | O_DIRECTORY | O_CLOEXEC));
        }
        say("own deep scratch is removed", publisher.ask(PublisherCall::remove_scratch, second.number));
        std::vector<FileDescriptor> all;
        std::string last;
        for (int i = 0; i < 600; ++i) {
            auto one = publisher.ask(PublisherCall::make_scratch);
            last = one.text;
            all.push_back(std::move(one.descriptor));
        }
        attempts.note("too many scratch directories", last);
    }
    say("own unlock", publisher.ask(PublisherCall::unlock));
}

// Never ends: files are made in a scratch directory while it is to be removed.
void fill_what_is_removed(const job::Request& request) {
    const PublisherChannel publisher(*request.publisher);
    publisher.ask(PublisherCall::begin);
    publisher.ask(PublisherCall::lock);
    const auto scratch = publisher.ask(PublisherCall::make_scratch);
    ::mkdirat(scratch.descriptor.get(), "0", 0755);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
            // Some seconds of removing; what is there when the job has been killed is removed before its supervisor
            // ends.
            for (unsigned number = 0;; ++number) {
                const auto name = "0/" + std::to_string(thread) + "-" + std::to_string(number % 500);
                ignore(::mkdirat(scratch.descriptor.get(), name.c_str(), 0755));
                ignore(::mkdirat(scratch.descriptor.get(), (name + "/x").c_str(), 0755));
            }
        });
    }
    ::usleep(200'000);
    for (;;) publisher.ask(PublisherCall::remove_scratch, scratch.number);
}

// The first connections to the skopeo service are its own; the service listens, and takes none.
void try_service(const job::Request& request, Attempts& attempts) {
    const int channel_to_parent = std::atoi(request.settings.skopeo_service->substr(std::strlen("fd:")).c_str());
    std::vector<FileDescriptor> connections;
    const auto connect = [&](const std::string& name) {
        attempts.attempt(name, [&] {
            int reason = 0;
            iovec buffer{&reason, sizeof reason};
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
            msghdr message{};
            message.msg_iov = &buffer;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            if (::send(channel_to_parent, "c", 1, MSG_NOSIGNAL) < 0 ||
                ::recvmsg(channel_to_parent, &message, MSG_CMSG_CLOEXEC) < 0)
                return -1;
            errno = reason;
            if (reason != 0) return -1;
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
            connections.emplace_back(descriptor);
            return 0;
        });
    };
    for (int number = 0; number < 8; ++number) connect("own connection " + std::to_string(number));
    connect("connection too many");
    connections.back().reset();
    connect("connection after one was let go");
    ::shutdown(connections.front().get(), SHUT_RDWR);
    connect("own connection after one has ended");
}

void try_system(Attempts& attempts) {
    attempts.attempt("mount", [] { return ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr); });
    attempts.attempt("remount", [] { return ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND, nullptr); });
    attempts.attempt("unmount", [] { return ::umount2("/proc", MNT_DETACH); });
    attempts.attempt("unshare", [] { return ::unshare(CLONE_NEWUSER); });
    attempts.attempt("chroot", [] { return ::chroot("/tmp"); });
    // With arguments that do no harm if the filter allows the call. Requests of a file system itself reach its other
    // files.
    const FileDescriptor root(::open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    attempts.attempt("thaw", [&] { return ::ioctl(root.get(), FITHAW, 0); });
    int nonsense = 77;
    attempts.attempt("shut a file system down", [&] { return ::ioctl(root.get(), _IOR('X', 125, __u32), &nonsense); });
    attempts.attempt("handle by ioctl", [&] { return ::ioctl(root.get(), _IOWR('X', 105, char[56]), nullptr); });
    attempts.attempt("high word of a request",
                     [&] { return ::syscall(SYS_ioctl, root.get(), (1UL << 32) | FITHAW, 0); });
    const FileDescriptor file(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    attempts.attempt("lease", [&] { return ::fcntl(file.get(), F_SETLEASE, F_RDLCK); });
    attempts.attempt("notification", [&] { return ::fcntl(root.get(), F_NOTIFY, DN_CREATE); });
    attempts.attempt("inotify", [] { return ::syscall(SYS_inotify_init1, 0); });
    attempts.attempt("bpf", [] { return ::syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 0); });
    attempts.attempt("io_uring", [] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
    attempts.attempt("userfaultfd", [] { return ::syscall(SYS_userfaultfd, 0); });
    attempts.attempt("keyring", [] { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1); });
    attempts.attempt("shared memory", [] { return ::syscall(SYS_shmget, 1, 4096, 01600); });
    attempts.attempt("handle", [] { return ::syscall(SYS_open_by_handle_at, AT_FDCWD, nullptr, O_RDONLY); });
    attempts.attempt("program", [] {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(0);
        return child;
    });
}

}  // namespace

int main() {
    ::prctl(PR_SET_DUMPABLE, 0);
    auto request = job::decode_request(read_line());
    job::Result result;
    Attempts attempts;
    try {
        confine(request);
        if (asked("mode") == "fill") fill_what_is_removed(request);
        try_files(request, attempts);
        try_temporary_files(attempts);
        if (!asked("object").empty()) try_repository(request, attempts);
        if (request.publisher) try_publisher(request, attempts);
        try_sockets(attempts);
        try_service(request, attempts);
        try_system(attempts);
        try_processes(attempts);
        result.outcome = job::Outcome::success;
        result.details = HeldJson(attempts.results());
    } catch (const std::exception& error) {
        result.outcome = job::Outcome::failed;
        result.error_name = "org.imaged1.Error.Failed";
        result.message = error.what();
    }
    const auto line = job::encode(job::Message(result));
    write_all(channel, std::as_bytes(std::span(line)), "send the result");
    ::_exit(0);
}
