// SPDX-License-Identifier: Apache-2.0
// Reads the repository on a thread and in a process of its own: a slow disk does not delay the bus, and a disk that
// does not respond does not prevent the daemon's exit.
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

// How many images are stored.
struct ImageCounts {
    std::uint32_t images = 0, damaged = 0, updates = 0;  // UPDATES: those with an update that is remembered
};

// Asks the process for what ImageCatalog (store/catalog/image-catalog.hpp) says. The reading thread's own.
class RemoteCatalog {
public:
    explicit RemoteCatalog(const std::string& repository) : repository_(repository), process_(repository) {}

    // Whether there is a repository, which is opened if need be. Throws Error(repository_damaged).
    bool open();
    // The answer of DescribeImages; null if it is still that of NUMBER, which becomes that of the answer. No answer has
    // the number 0. It is the reader that keeps the text: here it would take as much memory again.
    std::shared_ptr<const std::string> list(std::uint64_t& number);
    std::shared_ptr<const std::string> list() {
        std::uint64_t none = 0;
        return list(none);
    }
    nlohmann::json describe(const ImageReference& image);
    std::string manifest(const ImageReference& image);
    std::string config(const ImageReference& image);
    nlohmann::json diff(const ImageReference& from, const std::optional<ImageReference>& to, bool files);
    nlohmann::json deployments(const std::string& sysroot);
    // {"mode": "bare", "warning": …}; see repository-service.cpp.
    nlohmann::json mode();
    // Returns zeros if the images cannot be listed.
    ImageCounts counts();

    // From any thread: nothing is answered from now on.
    void end() { process_.end(); }

private:
    const std::string repository_;
    ReaderProcess process_;
    bool has_listed_ = false;
};

class CatalogReader {
public:
    // Runs on the reader's thread and must not throw; what it returns is run on the bus thread.
    using Task = std::function<EventLoop::Callback(RemoteCatalog& catalog)>;

    // COUNTED is called with what there was before when counts() has been looked at again.
    CatalogReader(EventLoop& loop, const std::string& repository,
                  std::function<void(const ImageCounts& before)> counted);
    ~CatalogReader();
    CatalogReader& operator=(CatalogReader&&) = delete;

    // Bus thread only, as all below. Throws Error(queue_full) when too many requests wait, in all or of the caller's
    // user.
    void ask(const Caller& caller, Task task);

    // "bare", "bare-user", "bare-user-only" or "archive" when refresh_mode() was called last; empty when the repository
    // has no readable config.
    const std::string& mode() const { return mode_; }
    // Starts to read the mode again. Warns the first time if others can enter a bare repository.
    void refresh_mode() noexcept;

    // When refresh_counts() was called last.
    const ImageCounts& counts() const { return counts_; }
    // Starts to count again.
    void refresh_counts() noexcept;

private:
    // A question that is asked in the background. If it is asked again meanwhile, it is repeated once after the answer.
    struct Look {
        bool runs = false, again = false;
    };
    // Calls TAKE with what READ returns.
    template <typename Value>
    void look(Look& look, std::function<Value(RemoteCatalog&)> read, std::function<void(const Value&)> take) noexcept;

    const std::shared_ptr<RemoteCatalog> catalog_;
    const std::function<void(const ImageCounts& before)> counted_;
    std::string mode_;
    ImageCounts counts_;
    bool warned_ = false;
    Look mode_look_, counts_look_;
    FileReader reader_;
};

}  // namespace imaged
