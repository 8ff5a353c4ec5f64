// SPDX-License-Identifier: Apache-2.0
// Changes the repository for a confined job that reads an image, exports, verifies or counts. The job asks for each
// change (store/repository/remote-writer.hpp), and nothing in such a request is trusted. The publisher knows neither
// libostree nor any image.
//
// A job can use it to: put objects under names that the repository does not have; name the commits that are there
// by the ref of the image that the job was started for, and by those of the layers that it announced before it put the
// first object; what the image's ref named when the job began is kept by a ref of its own then (kept-ref.hpp); record
// these layers as verified, where nothing else is recorded for this host; note the rule for signatures that it
// announced with them; replace the detached metadata of the commit that the image's ref named when the job began; the
// record of what is complete; and have another worker, as for Remove, drop the layers that no image uses.
//
// An object cannot be changed once it is in place: the job has each scratch directory as a mount that is in no mount
// namespace, and publishing begins with making it read-only. The kernel refuses that as long as anything is open for
// writing there, and from then on nothing can be written, linked or renamed by any descriptor that came from it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"
#include "job/kinds.hpp"
#include "layer/staging-area.hpp"
#include "store/files/publisher-protocol.hpp"

namespace imaged {

// Whether REQUEST's job has its repository changed like this.
bool has_publisher(const job::Request& request);

class Publisher {
public:
    // CHANNEL is the job's other end's. CHECK is called while it removes files for a job, and ends that by what it
    // throws. Throws Error(failed).
    Publisher(const job::Request& request, FileDescriptor channel, std::function<void()> check);

    // -1 when the job has closed its end.
    int channel() const { return channel_.get(); }
    // Answers one request.
    void serve();

private:
    bool may(PublisherCall call) const;

    struct ScratchMount {
        FileDescriptor mount, directory;
        bool sealed = false;
    };
    struct Packet {
        PublisherHead head;
        std::span<const std::byte> rest;
    };
    struct Reply {
        PublisherAnswer answer;
        std::optional<int> descriptor = {};  // borrowed
    };

    Reply handle(const Packet& packet);
    void require_in_place() const;
    bool lock();
    void announce(const Packet& packet);
    void require_contents_of_blobs(const std::vector<AnnouncedLayer>& layers) const;
    Reply make_scratch();
    ScratchMount& scratch(std::uint32_t number);
    void remove_scratch(std::uint32_t number);
    void seal(ScratchMount& scratch) const;
    void place(const Packet& packet);
    void place(int from, const Placement& placement) const;
    void place_metadata(int from, const Placement& placement) const;
    void set_ref(std::uint32_t number, const Checksum& commit);
    void set_layer_ref(std::uint32_t number, const Checksum& commit);
    void keep_version(const Checksum& next);
    void write_ref(const std::string& ref, const Checksum& commit);
    void add_record(std::uint32_t number, const Checksum& commit) const;
    void keep_record(ScratchMount& scratch) const;
    int start_cleaner();
    const AnnouncedLayer& layer(std::uint32_t number) const;
    bool has_commit(const Checksum& commit) const;
    void require_commit(const Checksum& commit) const;

    FileDescriptor channel_;
    const std::function<void()> check_;
    FileDescriptor repository_, objects_, lock_;
    std::optional<Error> unopened_;  // why the repository could not be opened
    std::optional<bool> moved_var_;  // what the job began with
    bool locked_ = false;
    const job::Publishing rights_;  // besides the lock and scratch directories
    const std::string repository_path_;
    const std::string source_;            // where the image comes from (store/records/image-sources.hpp)
    std::string image_, image_ref_;       // its name and its ref
    const std::optional<Digest> pinned_;  // the manifest's, if no other will do
    const unsigned keep_;                 // how many versions of an image are kept beside the current one
    std::optional<Checksum> previous_;
    std::optional<Checksum> manifest_;
    std::vector<AnnouncedLayer> layers_;
    std::string rule_;  // that let the image in, as the job announced it
    bool placed_ = false;
    FileDescriptor cleaner_;  // our end of its channel
    std::optional<LocalStaging> staging_;
    std::map<std::uint32_t, ScratchMount> scratches_;  // before staging_ goes
    std::uint32_t next_ = 0;
};

}  // namespace imaged
