// SPDX-License-Identifier: Apache-2.0
// Reads the repository, on a thread and in a process of its own: a slow disk never delays the bus, and one that does
// not answer keeps nobody from ending the daemon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/json-fwd.hpp"
#include "oci/image-reference.hpp"
#include "reading/file-reader.hpp"
#include "reading/reader-process.hpp"

namespace imaged {

// Asks the process for what Catalog (catalog.hpp) says. The reading thread's own.
class RemoteCatalog {
public:
    explicit RemoteCatalog(const std::string& repository) : repository_(repository), process_(repository) {}

    // Whether there is a repository, which is opened if need be. Throws Error(repository_damaged).
    bool open();
    // The answer of DescribeImages; the same object for as long as nothing changes.
    std::shared_ptr<const std::string> list();
    nlohmann::json describe(const ImageReference& image);
    std::string manifest(const ImageReference& image);
    std::string config(const ImageReference& image);
    nlohmann::json diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files);
    nlohmann::json deployments(const std::string& sysroot);
    // {"mode": "bare", "warning": …}; see repository-service.cpp.
    nlohmann::json mode();
    // How many images have an update that is remembered; none if they cannot be listed.
    std::uint32_t updates();

    // From any thread: nothing is answered from now on.
    void end() { process_.end(); }

private:
    const std::string repository_;
    ReaderProcess process_;
    std::shared_ptr<const std::string> listed_;
    std::uint64_t number_ = 0;
};

class CatalogReader {
public:
    // Runs on the reader's thread and must not throw; what it returns is run on the bus thread.
    using Task = std::function<EventLoop::Callback(RemoteCatalog& catalog)>;

    // UPDATES_CHANGED is called when updates() is another number than it was.
    CatalogReader(EventLoop& loop, const std::string& repository, std::function<void()> updates_changed);
    ~CatalogReader();
    CatalogReader(const CatalogReader&) = delete;
    CatalogReader& operator=(const CatalogReader&) = delete;

    // Bus thread only, as all below. Throws Error(queue_full) when too many requests wait, in all or of the caller's
    // user.
    void ask(const Caller& caller, Task task);

    // "bare", "bare-user", "bare-user-only" or "archive" when refresh_mode() was called last; empty when the repository
    // has no readable config.
    const std::string& mode() const { return mode_; }
    // Looks again, by and by. Warns the first time if others can enter a bare repository.
    void refresh_mode() noexcept;

    // How many images have an update that is remembered, when refresh_updates() was called last.
    std::uint32_t updates() const { return updates_; }
    // Counts again, by and by.
    void refresh_updates() noexcept;

private:
    // Something that is looked at by and by: not again while it is being looked at, but once more after that.
    struct Look {
        bool runs = false, again = false;
    };
    // Calls TAKE with what READ returns.
    template <typename Value>
    void look(Look& look, std::function<Value(RemoteCatalog&)> read, std::function<void(const Value&)> take) noexcept;

    const std::shared_ptr<RemoteCatalog> catalog_;
    const std::function<void()> updates_changed_;
    std::string mode_;
    std::uint32_t updates_ = 0;
    bool warned_ = false;
    Look mode_look_, updates_look_;
    FileReader reader_;
};

}  // namespace imaged
