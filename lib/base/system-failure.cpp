// SPDX-License-Identifier: Apache-2.0
#include "base/system-failure.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace imaged {

namespace {

constexpr std::array shortages{EMFILE, ENFILE, ENOMEM, EAGAIN, ENOBUFS, ENOLCK, ENOSPC, EDQUOT};
constexpr std::array others{EIO,   EACCES,  EPERM,   EROFS, ESTALE,   ENXIO,     ENODEV,   EBUSY,
                            EINTR, EUCLEAN, EBADMSG, EFBIG, ENOTCONN, ETIMEDOUT, EREMOTEIO};
constexpr const char* no_memory = "out of memory";  // current_error()

template <std::size_t Count>
std::optional<int> number_in(const std::array<int, Count>& numbers, std::string_view message) {
    const auto found = std::find_if(numbers.begin(), numbers.end(),
                                    [&](int number) { return message.ends_with(std::strerror(number)); });
    return found == numbers.end() ? std::nullopt : std::optional(*found);
}

}  // namespace

std::optional<int> error_number(const Error& error) {
    const std::string_view message(error.what());
    if (message.ends_with(no_memory)) return ENOMEM;
    const auto shortage = number_in(shortages, message);
    return shortage ? shortage : number_in(others, message);
}

bool is_system_failure(const Error& error) {
    return error.kind() == ErrorKind::no_space || error_number(error);
}

bool is_shortage(const Error& error) {
    return error.kind() == ErrorKind::no_space ||
           std::find(shortages.begin(), shortages.end(), error_number(error)) != shortages.end();
}

Error as_damage(const Error& cause) {
    return is_system_failure(cause) ? cause : Error(ErrorKind::repository_damaged, cause.what());
}

}  // namespace imaged
