// SPDX-License-Identifier: Apache-2.0
#include "source/policy-check.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/checksum.hpp"
#include "base/error.hpp"
#include "oci/manifest.hpp"
#include "source/skopeo-error.hpp"
#include "source/skopeo-process.hpp"
#include "source/skopeo.hpp"

namespace imaged {

namespace {

// What skopeo says of a failure, and some.
constexpr std::size_t max_output_bytes = 64 * 1024;
// An index.json with one manifest.
constexpr std::size_t max_index_bytes = 64 * 1024;

// A directory that goes with its object.
class TemporaryLayout {
public:
    TemporaryLayout() {
        auto pattern = (std::filesystem::temp_directory_path() / "imaged-policy-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw_errno("make a directory for the policy check");
        path_ = pattern;
        std::filesystem::create_directories(path_ / "blobs/sha256");
    }
    ~TemporaryLayout() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryLayout(const TemporaryLayout&) = delete;
    TemporaryLayout& operator=(const TemporaryLayout&) = delete;

    const std::filesystem::path& path() const { return path_; }
    // A blob without content, of the right size; skopeo does not fetch what is there.
    void pretend(const Descriptor& blob) const {
        const auto file =
            open_at(AT_FDCWD, path_ / "blobs/sha256" / blob.digest.hex(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (::ftruncate(file.get(), static_cast<off_t>(blob.size)) != 0) throw_errno("prepare the policy check");
    }
    // The digest of the manifest that was put in.
    std::string manifest_digest() const {
        const auto file = open_at(AT_FDCWD, path_ / "index.json", O_RDONLY);
        const auto index = nlohmann::json::parse(read_all(file.get(), max_index_bytes, "index.json"), nullptr, false);
        const auto manifests = index.is_object() ? index.find("manifests") : index.end();
        if (!index.is_object() || manifests == index.end() || manifests->size() != 1)
            throw Error(ErrorKind::failed, "skopeo left no index of one manifest");
        return manifests->front().value("digest", std::string());
    }

private:
    std::filesystem::path path_;
};

// skopeo's standard error is this process's own but for this one: its words become the error.
std::string read_output(int pipe, const Cancellation& cancellation, const ProxyOptions& options) {
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
        wait_readable(pipe, cancellation, options.stall_time, "the policy check");
        const auto count = ::read(pipe, buffer.data(), buffer.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw_errno("read from skopeo");
        if (count == 0) return text;
        if (text.size() < max_output_bytes) text.append(buffer.data(), static_cast<std::size_t>(count));
    }
}

// The message of `time="…" level=fatal msg="…"`, its quoting undone.
std::string fatal_message(const std::string& output) {
    const std::string mark = "level=fatal msg=";
    const auto found = output.rfind(mark);
    if (found == std::string::npos) return output;
    auto text = output.substr(found + mark.size());
    text.resize(std::min(text.find('\n'), text.size()));
    const auto quoted = nlohmann::json::parse(text, nullptr, false);
    return quoted.is_string() ? quoted.get<std::string>() : text;
}

}  // namespace

void check_policy(const ImageReference& image, const std::string& policy, const std::string& served,
                  const Cancellation& cancellation, const ProxyOptions& options) {
    const TemporaryLayout layout;
    for (const auto& layer : Manifest::parse(served).layers) layout.pretend(layer);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
    const FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    const pid_t process = spawn_skopeo({"skopeo", "copy", "--quiet", "--remove-signatures", image.image(),
                                        "oci:" + layout.path().string() + ":checked"},
                                       theirs.get(), STDERR_FILENO, options.auth_file, policy);
    theirs.reset();
    std::string output;
    try {
        output = read_output(ours.get(), cancellation, options);
    } catch (...) {
        end_process(process);
        throw;
    }
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) throw skopeo_error(fatal_message(output));
    if (layout.manifest_digest() != "sha256:" + sha256(served).hex())
        throw Error(ErrorKind::digest_mismatch, "the containers policy allows the manifest " +
                                                    layout.manifest_digest() + " of " + image.image() +
                                                    ", which is not the one that is to be fetched");
}

}  // namespace imaged
