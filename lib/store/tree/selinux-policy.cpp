// SPDX-License-Identifier: Apache-2.0
#include "store/tree/selinux-policy.hpp"

#include <fcntl.h>
#include <selinux/label.h>
#include <selinux/selinux.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include "base/error.hpp"
#include "store/objects/file-object.hpp"

namespace imaged {

namespace {

const Path config_path{"usr", "etc", "selinux", "config"};
// A handful of lines with comments.
constexpr std::size_t max_selinux_config_bytes = 64 * 1024;
// The largest distribution's has some 400 KiB.
constexpr std::size_t max_contexts_bytes = 8 * 1024 * 1024;

// The first thing that libselinux complained about since it was cleared.
thread_local std::string complaint;

__attribute__((format(printf, 2, 3))) int on_message(int, const char* format, ...) {
    std::array<char, 512> text;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text.data(), text.size(), format, arguments);
    va_end(arguments);
    if (complaint.empty()) {
        complaint = text.data();
        while (!complaint.empty() && complaint.back() == '\n') complaint.pop_back();
    }
    return 0;
}

// The value of KEY in the text of /etc/selinux/config.
std::string setting(const std::string& text, std::string_view key) {
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = std::min(text.find('\n', begin), text.size());
        auto line = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        if (!line.starts_with(key) || line.substr(key.size(), 1) != "=") continue;
        line.remove_prefix(key.size() + 1);
        const auto last = line.find_last_not_of(" \t\r");
        return std::string(line.substr(0, last == std::string_view::npos ? 0 : last + 1));
    }
    return {};
}

bool is_context_file(std::string_view name) {
    return name.starts_with("file_contexts") && !name.ends_with(".bin");
}

}  // namespace

// Libselinux's handle, and the scratch directory it read.
class SelinuxPolicy::Handle {
public:
    explicit Handle(StagingArea& staging) : scratch_(staging.make_scratch()) {}
    ~Handle() {
        if (handle_ != nullptr) ::selabel_close(handle_);
    }
    Handle& operator=(Handle&&) = delete;

    void add(const std::string& name, const std::string& text) {
        const auto file = open_at(scratch_->fd(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        write_all(file.get(), std::as_bytes(std::span(text)), name);
        files_.push_back(name);
    }

    void open() {
        selinux_callback callback{};
        callback.func_log = on_message;
        ::selinux_set_callback(SELINUX_CB_LOG, callback);
        complaint.clear();
        const auto path = prefix() + "file_contexts";
        const selinux_opt option{SELABEL_OPT_PATH, path.c_str()};
        handle_ = ::selabel_open(SELABEL_CTX_FILE, &option, 1);
        if (handle_ == nullptr)
            throw Error(ErrorKind::unsupported_image,
                        "the image's SELinux policy cannot be read, so its files cannot be labelled: " +
                            (complaint.empty() ? "it is malformed" : named(complaint)) +
                            ". Repair the policy in the image, or set SELINUX=disabled in its /etc/selinux/config");
        // libselinux does without most of them.
        for (const auto& name : files_) open_at(scratch_->fd(), name, O_PATH | O_NOFOLLOW);
    }

    std::optional<std::string> label(const std::string& path, std::uint32_t mode) const {
        char* context = nullptr;
        complaint.clear();
        if (::selabel_lookup_raw(handle_, &context, path.c_str(), static_cast<int>(mode)) == 0) {
            const std::unique_ptr<char, Free<::freecon>> owner(context);
            return std::string(context) + '\0';
        }
        if (errno == ENOENT && complaint.empty()) return std::nullopt;
        throw Error(
            ErrorKind::unsupported_image,
            "the image's SELinux policy gives no label for " + path +
                (complaint.empty() ? ": a pattern in its file_contexts is malformed" : ": " + named(complaint)) +
                ". Repair the policy in the image, or set SELINUX=disabled in its /etc/selinux/config");
    }

private:
    std::string prefix() const { return path_of_descriptor(scratch_->fd()) + "/"; }
    // A message of libselinux with the file's name alone, whose path is this process's own.
    std::string named(std::string message) const {
        for (auto found = message.find(prefix()); found != std::string::npos; found = message.find(prefix()))
            message.erase(found, prefix().size());
        return message;
    }

    const std::shared_ptr<Scratch> scratch_;
    std::vector<std::string> files_;
    selabel_handle* handle_ = nullptr;
};

SelinuxPolicy::SelinuxPolicy(Path directory, TreeEntry content, std::unique_ptr<Handle> handle)
    : directory_(std::move(directory)), content_(content), handle_(std::move(handle)) {}
SelinuxPolicy::~SelinuxPolicy() = default;

std::unique_ptr<SelinuxPolicy> SelinuxPolicy::find(const Repository& repository, StagingArea& staging, TreeStore& store,
                                                   const TreeEntry& root) {
    const auto config = store.find(root, config_path);
    if (!config || config->directory) return nullptr;
    FileObject config_file(repository, config->object);
    if (config_file.is_symlink()) return nullptr;
    const auto text =
        in_context("/etc/selinux/config", [&] { return config_file.read_whole(max_selinux_config_bytes); });
    const auto type = setting(text, "SELINUXTYPE");
    if (setting(text, "SELINUX") == "disabled" || type.empty() || type.find('/') != std::string::npos) return nullptr;
    const Path directory{"usr", "etc", "selinux", type, "contexts", "files"};
    const auto content = store.find(root, directory);
    if (!content || !content->directory) return nullptr;
    const auto files = store.load(content->object);
    if (!files.contains("file_contexts")) return nullptr;
    auto handle = std::make_unique<Handle>(staging);
    for (const auto& [name, entry] : files) {
        if (entry.directory || !is_context_file(name)) continue;
        in_context("the image's SELinux policy: " + name, [&, &name = name, &entry = entry] {
            FileObject file(repository, entry.object);
            if (!file.is_symlink()) handle->add(name, file.read_whole(max_contexts_bytes));
        });
    }
    handle->open();
    return std::unique_ptr<SelinuxPolicy>(new SelinuxPolicy(directory, *content, std::move(handle)));
}

std::optional<std::string> SelinuxPolicy::label(const std::string& path, std::uint32_t mode) const {
    return handle_->label(path, mode);
}

bool SelinuxPolicy::is_in(TreeStore& store, const TreeEntry& other) const {
    return store.find(other, directory_) == content_;
}

}  // namespace imaged
