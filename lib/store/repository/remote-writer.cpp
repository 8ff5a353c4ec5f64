// SPDX-License-Identifier: Apache-2.0
#include "store/repository/remote-writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/socket-message.hpp"
#include "store/files/moved-var.hpp"
#include "store/files/ref-name.hpp"

namespace imaged {

namespace {

constexpr std::chrono::milliseconds lock_interval(50);

}  // namespace

class RemoteWriter::RemoteScratch : public Scratch {
public:
    RemoteScratch(std::shared_ptr<RemoteWriter> writer, Answer answer)
        : Scratch(std::move(answer.descriptor)), writer_(std::move(writer)), number_(answer.head.number) {}
    ~RemoteScratch() override {
        try {
            writer_->ask("remove a scratch directory", {PublisherCall::remove_scratch, number_, {}});
        } catch (const Error&) {
            // The job is about to end, and all of them with it.
        }
    }

    void place(int, std::span<const Placement> placements) override {
        for (; !placements.empty(); placements = placements.subspan(std::min(placements.size(), max_placements)))
            writer_->ask("publish objects", {PublisherCall::place, number_, {}},
                         std::as_bytes(placements.first(std::min(placements.size(), max_placements))));
    }
    std::uint32_t number() const { return number_; }

private:
    const std::shared_ptr<RemoteWriter> writer_;
    const std::uint32_t number_;
};

class RemoteWriter::Staging : public StagingArea {
public:
    explicit Staging(std::shared_ptr<RemoteWriter> writer) : writer_(std::move(writer)) {}
    std::shared_ptr<Scratch> make_scratch() override { return writer_->make_scratch(); }

private:
    const std::shared_ptr<RemoteWriter> writer_;
};

RemoteWriter::RemoteWriter(FileDescriptor channel, const std::optional<ImageReference>& target)
    : channel_(std::move(channel)) {
    if (target) numbers_[image_ref(*target)] = image_number;
    ask("begin", {PublisherCall::begin, moves_var() ? 1U : 0U, {}});
}

RemoteWriter::Answer RemoteWriter::ask(const std::string& what, const PublisherHead& head,
                                       std::span<const std::byte> rest) {
    const std::lock_guard lock(mutex_);
    std::array<iovec, 2> packet{
        {{const_cast<PublisherHead*>(&head), sizeof head}, {const_cast<std::byte*>(rest.data()), rest.size()}}};
    if (send_message(channel_.get(), packet, {}) < 0) throw_errno(what);
    PublisherAnswer answer{};
    std::array<char, max_answer_text> text;
    packet = {{{&answer, sizeof answer}, {text.data(), text.size()}}};
    auto received = receive_message(channel_.get(), packet, 1);
    if (received.size < static_cast<ssize_t>(sizeof answer))
        throw Error(ErrorKind::failed, what + ": the process that changes the repository has ended");
    if (answer.outcome == PublisherAnswer::Outcome::failed)
        throw Error(answer.kind,
                    what + ": " + std::string(text.data(), static_cast<std::size_t>(received.size) - sizeof answer));
    return {answer, received.descriptors.empty() ? FileDescriptor() : std::move(received.descriptors.front())};
}

void RemoteWriter::lock(LockKind kind, std::chrono::seconds limit) {
    const std::string what = "lock the repository";
    if (kind != LockKind::shared) throw system_error(EPERM, what);
    const auto end = std::chrono::steady_clock::now() + limit;
    while (ask(what, {PublisherCall::lock, 0, {}}).head.outcome == PublisherAnswer::Outcome::locked) {
        if (std::chrono::steady_clock::now() >= end)
            throw Error(ErrorKind::failed, "another program holds the lock of the repository");
        std::this_thread::sleep_for(lock_interval);
    }
}

void RemoteWriter::unlock(LockKind) noexcept {
    try {
        ask("unlock the repository", {PublisherCall::unlock, 0, {}});
    } catch (const Error&) {
        // The job is about to end, and the lock with it.
    }
}

std::unique_ptr<StagingArea> RemoteWriter::make_staging() {
    return std::make_unique<Staging>(shared_from_this());
}

std::shared_ptr<Scratch> RemoteWriter::make_scratch() {
    return std::make_shared<RemoteScratch>(shared_from_this(),
                                           ask("make a scratch directory", {PublisherCall::make_scratch, 0, {}}));
}

void RemoteWriter::announce(const Digest& manifest, const ImageLayout& layout, const std::string& rule) {
    std::vector<AnnouncedLayer> layers;
    for (const auto& layer : layout.layers) {
        const auto number = static_cast<std::uint32_t>(layers.size());
        numbers_[layer_ref(layer.blob.digest)] = number;
        numbers_[derived_ref(layer.blob.digest)] = number | second_ref;
        numbers_[objects_ref(layer.blob.digest)] = number | third_ref;
        layers.push_back({layer.blob.digest.checksum(), layer.diff_id.checksum(), layer.kind});
    }
    const auto list = std::as_bytes(std::span(layers)), text = std::as_bytes(std::span(rule));
    std::vector<std::byte> rest(list.begin(), list.end());
    rest.insert(rest.end(), text.begin(), text.end());
    ask("import " + manifest.text(),
        {PublisherCall::announce, static_cast<std::uint32_t>(text.size()), manifest.checksum()}, rest);
}

void RemoteWriter::set_ref(const std::string& ref, const std::optional<Checksum>& commit) {
    const auto number = numbers_.find(ref);
    if (number == numbers_.end() || !commit) throw system_error(EPERM, "write the ref " + ref);
    ask("write the ref " + ref, {PublisherCall::set_ref, number->second, *commit});
}

void RemoteWriter::add_layer(const ImageLayer& layer, const Checksum& commit, bool blob_seen) {
    const auto ref = layer_ref(layer.blob.digest);
    const auto number = numbers_.find(ref);
    const auto what = "record the layer " + layer.blob.digest.text();
    if (number == numbers_.end()) throw system_error(EPERM, what);
    ask(what, {PublisherCall::add_record, number->second | (blob_seen ? 0U : unseen_blob), commit});
}

void RemoteWriter::add_image(const Digest& manifest, const Checksum& commit) {
    ask("record the image " + manifest.text(), {PublisherCall::add_record, image_number, commit});
}

std::shared_ptr<RemoteWriter::RemoteScratch> RemoteWriter::with_file(const std::string& name,
                                                                     const std::string& content) {
    const auto scratch = std::static_pointer_cast<RemoteScratch>(make_scratch());
    unsigned number = 0;
    const auto directory = scratch->make_directory(number);
    const auto file = open_at(directory.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    write_all(file.get(), std::as_bytes(std::span(content)), name);
    if (::fdatasync(file.get()) != 0) throw_errno("sync " + name);
    return scratch;
}

void RemoteWriter::write_detached_metadata(const Checksum& commit, const std::string& serialised) {
    const Placement placement{commit, PlacedType::commitmeta, 0};
    with_file(staged_name(commit, placement.type), serialised)->place(-1, std::span(&placement, 1));
}

void RemoteWriter::keep_record(const std::string& name, const std::optional<std::string>& text) {
    const auto scratch = with_file(staged_record, text.value_or(std::string()));
    ask("keep the record " + name, {PublisherCall::keep_record, scratch->number(), {}});
}

FileDescriptor RemoteWriter::drop_layers() {
    return ask("drop unused layers", {PublisherCall::drop_layers, 0, {}}).descriptor;
}

}  // namespace imaged
