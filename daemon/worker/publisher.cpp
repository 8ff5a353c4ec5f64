// SPDX-License-Identifier: Apache-2.0
#include "publisher.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <utility>

#include "base/checksum.hpp"
#include "base/child-process.hpp"
#include "base/directory.hpp"
#include "base/socket-message.hpp"
#include "oci/image-reference.hpp"
#include "store/files/kept-ref.hpp"
#include "store/files/partial-mark.hpp"
#include "store/files/record-file.hpp"
#include "store/files/ref-file.hpp"
#include "store/files/ref-name.hpp"
#include "store/files/repository-writer.hpp"
#include "store/files/verified-layers.hpp"
#include "store/records/image-sources.hpp"
#include "store/records/signature-rules.hpp"

namespace imaged {

namespace {

constexpr int job_channel = 3;
constexpr PublisherAnswer done_answer{PublisherAnswer::Outcome::done, 0, ErrorKind::failed};
// Layers that are being written, and those that wait for being published.
constexpr std::size_t max_scratches = 512;
// Of the record of what is complete, and of detached metadata, which may hold a manifest and a config.
constexpr off_t max_completeness_bytes = 1024 * 1024, max_detached_bytes = 16 * 1024 * 1024;

[[noreturn]] void refuse(const char* what) {
    throw system_error(EPERM, what);
}

std::string source_of(const job::Request& request) {
    if (request.image() == nullptr) return {};
    return request.as<job::ImportArchive>() != nullptr ? archive_source : request.image()->image();
}

std::optional<Digest> pinned_digest(const job::Request& request) {
    return std::visit(
        [](const auto& work) -> std::optional<Digest> {
            if constexpr (requires { work.digest; }) return work.digest;
            return std::nullopt;
        },
        request.work);
}

struct stat status_of(int directory, const std::string& name) {
    struct stat status;
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) throw_errno("look at a staged file");
    return status;
}

// Only this user can change it, and it has no other name.
void require_own_file(const struct stat& status, off_t limit) {
    if (!S_ISREG(status.st_mode) || status.st_nlink != 1) refuse("a staged file is no regular file with one name");
    if (status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH | 07000)) != 0)
        refuse("a staged file is another user's");
    if (status.st_size > limit) refuse("a staged file is too large");
}

// What commits, trees and the metadata of directories are named by is the hash of the file.
void require_content(int directory, const Placement& placement) {
    const auto name = staged_name(placement.checksum, placement.type);
    const auto file = open_file(directory, name, O_NOFOLLOW);
    static std::array<std::byte, 128 * 1024> buffer;
    static Sha256 hash;
    for (;;) {
        const auto count = ::read(file.get(), buffer.data(), buffer.size());
        if (count < 0) throw_errno("read " + name);
        if (count == 0) break;
        hash.update(std::span(buffer).first(static_cast<std::size_t>(count)));
    }
    if (hash.finish() != placement.checksum) refuse("a staged object is not what its name says");
}

// The record that a job with RIGHTS keeps, and the most that it may have.
std::pair<const char*, off_t> kept_record(job::Publishing rights) {
    if (rights == job::Publishing::verdict) return {damage_record, max_damage_bytes};
    if (rights == job::Publishing::usage) return {usage_record, max_usage_bytes};
    return {completeness_record, max_completeness_bytes};
}

// The last component is not followed; the others are a mount's root, which the job cannot replace.
FileDescriptor open_directory(int parent, const std::string& name) {
    return open_at(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

void make_directories(int parent, const std::string& path) {
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
        if (::mkdirat(parent, path.substr(0, slash).c_str(), 0755) != 0 && errno != EEXIST)
            throw_errno("make " + path.substr(0, slash));
    }
}

}  // namespace

bool has_publisher(const job::Request& request) {
    if (request.traits().publishing == job::Publishing::none) return false;
    if (const auto* const verify = request.as<job::Verify>(); verify != nullptr && verify->repair) return false;
    // A skopeo that is the job's child cannot work in a directory that is in no mount namespace.
    if (const auto* const exported = request.as<job::Export>();
        exported != nullptr && !request.settings.skopeo_service &&
        exported->destination.transport() == Transport::registry)
        return false;
    return request.settings.confined && ::geteuid() == 0;
}

bool Publisher::may(PublisherCall call) const {
    switch (call) {
        case PublisherCall::begin:
        case PublisherCall::lock:
        case PublisherCall::unlock:
        case PublisherCall::make_scratch:
        case PublisherCall::remove_scratch:
        case PublisherCall::place: return true;  // which looks at the types
        case PublisherCall::keep_record: return rights_ != job::Publishing::scratch;
        default: return rights_ == job::Publishing::image;
    }
}

Publisher::Publisher(const job::Request& request, FileDescriptor channel, std::function<void()> check)
    : channel_(std::move(channel)),
      check_(std::move(check)),
      rights_(request.traits().publishing),
      repository_path_(request.repository),
      source_(source_of(request)),
      pinned_(pinned_digest(request)),
      keep_(request.settings.keep) {
    if (const auto* const image = request.stored_image()) {
        image_ = image->image();
        image_ref_ = image_ref(*image);
    }
    // What cannot be opened, the job reports.
    try {
        auto repository = open_at(AT_FDCWD, request.repository, O_RDONLY | O_DIRECTORY);
        objects_ = open_at(repository.get(), "objects", O_RDONLY | O_DIRECTORY);
        if (!image_ref_.empty()) previous_ = read_ref_file(repository.get(), "refs/heads/" + image_ref_).commit;
        repository_ = std::move(repository);
    } catch (const Error& error) {
        unopened_ = error;
    }
}

// The job has opened them by itself: what it looks at must be what is changed here, and what programs find at the path.
void Publisher::require_in_place() const {
    if (!leads_to(AT_FDCWD, repository_path_, repository_.get()) ||
        !leads_to(repository_.get(), "objects", objects_.get()))
        throw Error(ErrorKind::failed, "the repository " + repository_path_ +
                                           " was moved away or replaced while the job ran. The repository that is "
                                           "there now has no results of the job");
}

void Publisher::serve() {
    alignas(PublisherHead) static std::array<std::byte, max_publisher_packet> buffer;
    const auto size = ::recv(channel_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) return channel_.reset();
    Reply reply{done_answer};
    std::string text;
    try {
        const auto length = static_cast<std::size_t>(size);
        if (length < sizeof(PublisherHead) || length > buffer.size()) refuse("a packet of another length");
        Packet packet{{}, std::span<const std::byte>(buffer).first(length).subspan(sizeof(PublisherHead))};
        std::memcpy(&packet.head, buffer.data(), sizeof packet.head);
        reply = handle(packet);
    } catch (...) {
        const auto error = current_error();
        reply = {{PublisherAnswer::Outcome::failed, 0, error.kind()}};
        text = std::string(error.what()).substr(0, max_answer_text);
    }
    std::array<iovec, 2> parts{{{&reply.answer, sizeof reply.answer}, {text.data(), text.size()}}};
    const auto descriptors = reply.descriptor ? std::span(&*reply.descriptor, 1) : std::span<int>();
    // One that does not take its answers gets none.
    send_message(channel_.get(), parts, descriptors, MSG_DONTWAIT);
}

Publisher::Reply Publisher::handle(const Packet& packet) {
    const Reply done{done_answer};
    const auto& [call, number, checksum] = packet.head;
    if (moved_var_.has_value() == (call == PublisherCall::begin)) refuse("a job begins first, and once");
    if (call == PublisherCall::begin) {
        moved_var_ = number != 0;
        return done;
    }
    if (unopened_) throw Error(*unopened_);
    const bool needs_lock =
        call != PublisherCall::lock && call != PublisherCall::unlock && call != PublisherCall::drop_layers;
    if (needs_lock && !locked_) refuse("the lock is not held");
    if (call != PublisherCall::announce && call != PublisherCall::place && !packet.rest.empty())
        refuse("a packet of another length");
    if (!may(call)) refuse("a job that has nothing to do with that");
    if (needs_lock) require_in_place();
    switch (call) {
        case PublisherCall::begin: break;
        case PublisherCall::lock: return lock() ? done : Reply{{PublisherAnswer::Outcome::locked, 0, {}}};
        case PublisherCall::unlock:
            lock_.reset();
            locked_ = false;
            return done;
        case PublisherCall::announce: announce(packet); return done;
        case PublisherCall::make_scratch: return make_scratch();
        case PublisherCall::place: place(packet); return done;
        case PublisherCall::remove_scratch: remove_scratch(number); return done;
        case PublisherCall::set_ref: set_ref(number, checksum); return done;
        case PublisherCall::add_record: add_record(number, checksum); return done;
        case PublisherCall::keep_record: keep_record(scratch(number)); return done;
        case PublisherCall::drop_layers: return {done.answer, start_cleaner()};
    }
    refuse("no such request");
}

// As libostree does, which the same file is for.
bool Publisher::lock() {
    if (locked_) return true;
    lock_ = open_at(repository_.get(), ".lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0644);
    struct flock wanted {};
    wanted.l_type = F_RDLCK;
    const bool taken = ::fcntl(lock_.get(), F_OFD_SETLK, &wanted) == 0 ||
                       (errno == EINVAL && ::flock(lock_.get(), LOCK_SH | LOCK_NB) == 0);
    if (!taken && errno != EAGAIN && errno != EACCES) throw_errno("lock it");
    if (taken && !staging_) StagingArea::clear_leftovers(repository_.get(), check_);
    return locked_ = taken;
}

// What was announced first stays, as the job may be another's after it has read layers.
void Publisher::announce(const Packet& packet) {
    const std::size_t text = packet.head.number;
    if (text > max_signature_rule || text > packet.rest.size()) refuse("the announced rule for signatures");
    const auto list = packet.rest.first(packet.rest.size() - text);
    const auto count = list.size() / sizeof(AnnouncedLayer);
    if (list.size() % sizeof(AnnouncedLayer) != 0 || count > max_announced) refuse("announced layers");
    std::vector<AnnouncedLayer> layers(count);
    if (count > 0) std::memcpy(layers.data(), list.data(), list.size());
    const std::string rule(reinterpret_cast<const char*>(packet.rest.data()) + list.size(), text);
    for (const auto& layer : layers) {
        if (static_cast<unsigned>(layer.kind) > static_cast<unsigned>(LayerKind::derived)) refuse("kind of a layer");
    }
    const auto& manifest = packet.head.checksum;
    if (pinned_ && Digest(manifest) != *pinned_) refuse("another image than the job is for");
    if (manifest_ && (*manifest_ != manifest || layers != layers_ || rule != rule_))
        refuse("another image than before");
    if (!manifest_ && placed_) refuse("an image after its objects");
    require_contents_of_blobs(layers);
    manifest_ = manifest;
    layers_ = std::move(layers);
    rule_ = rule;
}

// A blob has one content. If its ref names a commit that is recorded for another one with this very blob, what is
// announced is made up. With another blob it is not known, and found out by fetching the layer.
void Publisher::require_contents_of_blobs(const std::vector<AnnouncedLayer>& layers) const {
    struct Doubt {
        Digest blob, content;
        Checksum commit;
    };
    std::vector<Doubt> doubts;
    std::set<Checksum> commits;
    const VerifiedLayers records(repository_.get());
    for (const auto& layer : layers) {
        const Digest blob(layer.blob), content(layer.diff_id);
        for (const auto& ref : {layer_ref(blob), derived_ref(blob), objects_ref(blob)}) {
            const auto there = read_ref_file(repository_.get(), "refs/heads/" + ref).commit;
            if (!there || !has_commit(*there) || records.layer(layer.kind, content) == there) continue;
            doubts.push_back({blob, content, *there});
            commits.insert(*there);
        }
    }
    const auto recorded = records.contents_of(commits);
    for (const auto& doubt : doubts) {
        const auto found = recorded.find(doubt.commit);
        if (found == recorded.end()) continue;
        const auto& contents = found->second;
        const auto is_content = [&](const auto& content) { return content.diff_id == doubt.content; };
        const auto is_of_blob = [&](const auto& content) { return content.blob == doubt.blob; };
        if (std::none_of(contents.begin(), contents.end(), is_content) &&
            std::any_of(contents.begin(), contents.end(), is_of_blob))
            throw Error(ErrorKind::repository_damaged,
                        "the layer " + doubt.blob.text() + " is there with another content than " +
                            doubt.content.text() + "; imagectl verify --repair fetches it anew");
    }
}

Publisher::Reply Publisher::make_scratch() {
    if (scratches_.size() >= max_scratches) refuse("too many scratch directories");
    if (!staging_) staging_.emplace(repository_.get());
    const auto number = next_++;
    const auto name = std::to_string(number);
    if (::mkdirat(staging_->fd(), name.c_str(), 0700) != 0) throw_errno("make a scratch directory");
    ScratchMount scratch;
    scratch.directory = open_directory(staging_->fd(), name);
    scratch.mount.reset(static_cast<int>(::syscall(SYS_open_tree, staging_->fd(), name.c_str(),
                                                   OPEN_TREE_CLONE | static_cast<unsigned>(OPEN_TREE_CLOEXEC))));
    if (!scratch.mount) throw_errno("make a mount of a scratch directory");
    struct mount_attr attributes {};
    attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (::mount_setattr(scratch.mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
        throw_errno("restrict a scratch directory");
    const int mount = scratch.mount.get();
    scratches_.emplace(number, std::move(scratch));
    return {{PublisherAnswer::Outcome::done, number, ErrorKind::failed}, mount};
}

Publisher::ScratchMount& Publisher::scratch(std::uint32_t number) {
    const auto found = scratches_.find(number);
    if (found == scratches_.end()) refuse("no such scratch directory");
    return found->second;
}

// One that could still be filled is not removed, nor is it forgotten before it is gone.
void Publisher::remove_scratch(std::uint32_t number) {
    seal(scratch(number));
    remove_tree(staging_->fd(), std::to_string(number), check_);
    scratches_.erase(number);
}

// EBUSY as long as anything is open for writing.
void Publisher::seal(ScratchMount& scratch) const {
    if (scratch.sealed) return;
    struct mount_attr attributes {};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    if (::mount_setattr(scratch.mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
        throw_errno("make a scratch directory read-only");
    scratch.sealed = true;
}

void Publisher::place(const Packet& packet) {
    const auto count = packet.rest.size() / sizeof(Placement);
    if (packet.rest.size() % sizeof(Placement) != 0 || count > max_placements) refuse("placements");
    auto& scratch = this->scratch(packet.head.number);
    seal(scratch);
    placed_ = true;
    std::array<FileDescriptor, 256> directories;
    for (std::size_t i = 0; i < count; ++i) {
        Placement placement;
        std::memcpy(&placement, packet.rest.data() + i * sizeof placement, sizeof placement);
        if (static_cast<unsigned>(placement.type) >= placed_types) refuse("type of an object");
        auto& directory = directories[placement.directory];
        if (!directory) directory = open_directory(scratch.directory.get(), std::to_string(placement.directory));
        place(directory.get(), placement);
    }
}

// The scratch directory is sealed: nobody else changes what is looked at here.
void Publisher::place(int from, const Placement& placement) const {
    if (placement.type == PlacedType::commitmeta) return place_metadata(from, placement);
    if (rights_ != job::Publishing::image) refuse("a job that puts no objects");
    struct stat status;
    if (::fstatat(from, staged_name(placement.checksum, placement.type).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        // Moved before, or there since before: place_object() looks.
        if (errno != ENOENT) throw_errno("look at an object");
    } else if (placement.type == PlacedType::filez) {
        require_own_file(status, INT64_MAX);
    } else if (placement.type != PlacedType::file) {
        require_own_file(status, max_metadata_bytes);
        require_content(from, placement);
    } else if ((!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) || status.st_nlink != 1) {
        refuse("an object is neither a file nor a link with one name");
    }
    place_object(from, objects_.get(), placement);
}

void Publisher::place_metadata(int from, const Placement& placement) const {
    const auto name = staged_name(placement.checksum, placement.type);
    if (rights_ != job::Publishing::image && rights_ != job::Publishing::metadata)
        refuse("a job that changes no metadata");
    require_own_file(status_of(from, name), max_detached_bytes);
    if (placement.checksum == previous_) {
        const auto path = object_path(placement.checksum, placement.type);
        if (::renameat(from, name.c_str(), objects_.get(), path.c_str()) != 0) throw_errno("name " + name);
        return;
    }
    if (rights_ != job::Publishing::image || has_commit(placement.checksum))
        refuse("metadata of a commit that is there");
    place_object(from, objects_.get(), placement);
}

bool Publisher::has_commit(const Checksum& commit) const {
    return is_placed(objects_.get(), {commit, PlacedType::commit, 0});
}

void Publisher::require_commit(const Checksum& commit) const {
    if (!has_commit(commit)) refuse("there is no such commit");
}

const AnnouncedLayer& Publisher::layer(std::uint32_t number) const {
    if (number >= layers_.size()) refuse("no such layer");
    return layers_[number];
}

void Publisher::set_ref(std::uint32_t number, const Checksum& commit) {
    require_commit(commit);
    if (number != image_number) return set_layer_ref(number, commit);
    if (!manifest_) refuse("an image that was not announced");
    keep_version(commit);
    write_ref(image_ref_, commit);
    note_image_source(repository_.get(), image_, source_);
    note_signature_rule(repository_.get(), image_, image_ref_, commit, rule_);
}

// Whatever NEXT is: what need not be kept is dropped by a process that has read no layer. Once, so that nothing which
// the job itself puts there takes the place of other versions.
void Publisher::keep_version(const Checksum& next) {
    const auto kept = keep_ > 0 ? ref_to_keep(repository_.get(), image_ref_, next) : std::nullopt;
    if (kept && kept->commit == previous_ && has_commit(*kept->commit)) write_ref(kept->ref, *kept->commit);
}

// A layer may be another image's as well: its refs follow the record, which that image shares. Without one (if there
// is no place for records) what is there stays. A commit that is recorded as a layer of another kind keeps a ref of its
// own.
void Publisher::set_layer_ref(std::uint32_t number, const Checksum& commit) {
    const auto& [blob, diff_id, kind] = layer(number & ~(second_ref | third_ref));
    const Digest digest(blob), content(diff_id);
    const VerifiedLayers records(repository_.get());
    const auto first = layer_ref(digest), second = derived_ref(digest);
    const auto present = [&](const std::string& ref) { return read_ref_file(repository_.get(), "refs/heads/" + ref); };
    if ((number & second_ref) != 0) {
        const auto there = present(second);
        const bool is_moved = !there.exists && present(first).commit == commit;
        if (there.commit != commit && !is_moved && records.layer(LayerKind::derived, content) != commit)
            refuse("a layer that is not recorded");
        return write_ref(second, commit);
    }
    if ((number & third_ref) != 0) {
        const auto own = objects_ref(digest);
        const auto shared = present(first).commit;
        if (kind == LayerKind::derived || records.layer(kind, content) != commit)
            refuse("a layer that is not recorded");
        // Another one has no ref of its own if the blob has one.
        if (!present(own).exists && shared && shared != commit && has_commit(*shared)) refuse("a layer that is there");
        return write_ref(own, commit);
    }
    const auto there = present(first).commit, recorded = records.layer(kind, content);
    if (recorded && recorded != commit && there != commit) refuse("a layer that another commit is recorded for");
    if (there && there != commit && has_commit(*there)) {
        if (recorded != commit) refuse("a layer that is there");
        if (kind != LayerKind::derived) {
            if (!present(second).exists) write_ref(second, *there);
        } else if (records.layer(LayerKind::chunk, content) == there ||
                   records.layer(LayerKind::commit, content) == there) {
            refuse("a layer of another kind that is there");
        }
    }
    write_ref(first, commit);
}

void Publisher::write_ref(const std::string& ref, const Checksum& commit) {
    if (!staging_) staging_.emplace(repository_.get());
    remove_partial_mark(repository_.get(), commit);
    const auto path = "refs/heads/" + ref, text = commit.hex() + "\n";
    constexpr const char* unfinished = "ref";
    {
        const auto file = open_at(staging_->fd(), unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
        write_all(file.get(), std::as_bytes(std::span(text)), path);
        if (::fdatasync(file.get()) != 0) throw_errno("sync " + path);
    }
    make_directories(repository_.get(), path);
    require_no_ref_directory(repository_.get(), ref);
    if (::renameat(staging_->fd(), unfinished, repository_.get(), path.c_str()) != 0) throw_errno("name " + path);
    // What shows other programs that refs have changed.
    ::futimens(repository_.get(), nullptr);
}

void Publisher::add_record(std::uint32_t number, const Checksum& commit) const {
    require_commit(commit);
    const VerifiedLayers records(repository_.get());
    if (number == image_number) {
        if (!manifest_) refuse("an image that was not announced");
        return records.add_image(Digest(*manifest_), commit);
    }
    const auto& [blob, diff_id, kind] = layer(number & ~unseen_blob);
    const ImageLayer layer{kind, {"", Digest(blob), 0}, Digest(diff_id)};
    // Other images may be made of it. What a derived layer's commit was with another libostree serves none any more.
    const auto recorded = records.layer(kind, layer.diff_id);
    const bool serves = kind != LayerKind::derived || records.goes_with(layer.diff_id, *moved_var_);
    if (recorded && *recorded != commit && serves && has_commit(*recorded))
        throw Error(ErrorKind::repository_damaged,
                    "another commit is recorded for the layer; imagectl verify --repair fetches it anew");
    records.add_layer(layer, commit, *moved_var_, (number & unseen_blob) == 0);
}

void Publisher::keep_record(ScratchMount& scratch) const {
    seal(scratch);
    const auto directory = open_directory(scratch.directory.get(), "0");
    const auto [name, limit] = kept_record(rights_);
    const auto status = status_of(directory.get(), staged_record);
    require_own_file(status, limit);
    const auto records = status.st_size > 0 ? make_records(repository_.get(), records_directory)
                                            : open_records(repository_.get(), records_directory);
    if (!records) {
        if (status.st_size > 0) throw Error(ErrorKind::failed, record_place_fault(repository_.get()).value_or(""));
    } else if (status.st_size > 0) {
        if (::renameat(directory.get(), staged_record, records.get(), name) != 0) throw_errno("keep a record");
    } else if (::unlinkat(records.get(), name, 0) != 0 && errno != ENOENT) {
        throw_errno("remove a record");
    }
}

// In the PID namespace of this process, which the job does not see. It gets a lock of its own.
int Publisher::start_cleaner() {
    if (cleaner_ || locked_) refuse("layers are dropped once, in the end");
    job::Request request{.work = job::Remove{},
                         .repository = repository_path_,
                         .background = false};  // like its parent's, its priority stays
    request.settings.confined = true;
    request.settings.keep = keep_;
    const auto line = job::encode(request);
    auto [ours, theirs] = make_socket_pair(SOCK_STREAM);
    cleaner_ = std::move(ours);
    write_all(cleaner_.get(), std::as_bytes(std::span(line)), "start a worker");
    ChildProcess::start({.command = {"imaged-worker"},
                         .file = "/proc/self/exe",
                         .descriptors = {{theirs.get(), job_channel}},
                         .death_signal = SIGTERM,
                         .fresh_signals = true},
                        "start a worker");
    return cleaner_.get();
}

}  // namespace imaged
