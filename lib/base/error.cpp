// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>

#include "base/enum-names.hpp"

namespace imaged {

namespace {

constexpr auto error_names = enum_names<ErrorKind>({
    {ErrorKind::invalid_reference, "InvalidReference"},
    {ErrorKind::invalid_argument, "InvalidArgument"},
    {ErrorKind::not_found, "NotFound"},
    {ErrorKind::not_authorized, "NotAuthorized"},
    {ErrorKind::cancelled, "Cancelled"},
    {ErrorKind::stopped, "Stopped"},
    {ErrorKind::deferred, "Deferred"},
    {ErrorKind::source_unreachable, "SourceUnreachable"},
    {ErrorKind::source_denied, "SourceDenied"},
    {ErrorKind::policy_rejected, "PolicyRejected"},
    {ErrorKind::digest_mismatch, "DigestMismatch"},
    {ErrorKind::corrupt_input, "CorruptInput"},
    {ErrorKind::unsupported_image, "UnsupportedImage"},
    {ErrorKind::no_space, "NoSpace"},
    {ErrorKind::repository_damaged, "RepositoryDamaged"},
    {ErrorKind::queue_full, "QueueFull"},
    {ErrorKind::failed, "Failed"},
});

}  // namespace

std::string_view error_name(ErrorKind kind) {
    return error_names.name(kind);
}

ErrorKind error_kind(std::string_view name) {
    return error_names.value(name).value_or(ErrorKind::failed);
}

Error Error::with_context(std::string_view context) const {
    return Error(kind_, std::string(context) + ": " + what(), pause_);
}

Error system_error(int error_number, const std::string& what) {
    const auto kind = error_number == ENOSPC || error_number == EDQUOT ? ErrorKind::no_space : ErrorKind::failed;
    return Error(kind, what + ": " + std::strerror(error_number));
}

void throw_errno(const std::string& what) {
    throw system_error(errno, what);
}

Error current_error() {
    try {
        throw;
    } catch (const Error& error) {
        return error;
    } catch (const std::bad_alloc&) {
        return Error(ErrorKind::failed, "out of memory");
    } catch (const std::filesystem::filesystem_error& error) {
        auto what = "use " + error.path1().string();
        return system_error(error.code().value(), what);
    } catch (const std::system_error& error) {
        // Nothing else here fails with one of these than the start of a thread.
        return system_error(error.code().value(),
                            "cannot start a thread (there is a limit on processes, threads or memory)");
    } catch (const std::exception& error) {
        return Error(ErrorKind::failed, error.what());
    } catch (...) {
        return Error(ErrorKind::failed, "unknown exception");
    }
}

}  // namespace imaged
