// SPDX-License-Identifier: Apache-2.0
#include "base/socket-message.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "catch.hpp"

using namespace imaged;

namespace {

ReceivedMessage receive(int socket, std::string& text, std::size_t room, std::size_t max_descriptors) {
    text.assign(room, '\0');
    iovec part{text.data(), text.size()};
    auto received = receive_message(socket, std::span(&part, 1), max_descriptors);
    if (received.size >= 0) text.resize(static_cast<std::size_t>(received.size));
    return received;
}

ssize_t send(int socket, std::string text, std::span<const int> descriptors) {
    iovec part{text.data(), text.size()};
    return send_message(socket, std::span(&part, 1), descriptors);
}

}  // namespace

TEST_CASE("a message brings its text and its descriptors, which close on exec") {
    const auto pair = make_socket_pair(SOCK_SEQPACKET);
    const auto pipe = make_pipe();
    const std::array sent{pipe.theirs.get(), pipe.ours.get()};
    REQUIRE(send(pair.theirs.get(), "hello", sent) == 5);
    std::string text;
    const auto received = receive(pair.ours.get(), text, 64, 2);
    REQUIRE(text == "hello");
    REQUIRE_FALSE(received.cut);
    REQUIRE(received.descriptors.size() == 2);
    REQUIRE((::fcntl(received.descriptors[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(::write(received.descriptors[0].get(), "x", 1) == 1);
    char read = 0;
    REQUIRE(::read(pipe.ours.get(), &read, 1) == 1);
    REQUIRE(read == 'x');
}

TEST_CASE("a message that is too long, or has too many descriptors, says that it was cut") {
    const auto pair = make_socket_pair(SOCK_SEQPACKET);
    const std::array sent{pair.ours.get(), pair.ours.get(), pair.ours.get()};
    std::string text;
    REQUIRE(send(pair.theirs.get(), "hello", {}) == 5);
    REQUIRE(receive(pair.ours.get(), text, 4, 0).cut);
    REQUIRE(text == "hell");
    REQUIRE(send(pair.theirs.get(), "hello", sent) == 5);
    const auto received = receive(pair.ours.get(), text, 64, 1);
    REQUIRE(received.cut);
    REQUIRE(received.descriptors.size() < sent.size());
}

TEST_CASE("the end of a socket is a message of no bytes, and sending to it is an error and no signal") {
    auto pair = make_socket_pair(SOCK_SEQPACKET);
    pair.theirs.reset();
    std::string text;
    REQUIRE(receive(pair.ours.get(), text, 4, 1).size == 0);
    REQUIRE(send(pair.ours.get(), "x", {}) == -1);
    REQUIRE(errno == EPIPE);
}

TEST_CASE("a socket that is not there, or whose path is too long, gives none and the reason") {
    REQUIRE_FALSE(connect_to("/nonexistent/socket", SOCK_SEQPACKET));
    REQUIRE(errno == ENOENT);
    REQUIRE_FALSE(connect_to("/" + std::string(200, 'x'), SOCK_SEQPACKET));
    REQUIRE(errno == ENAMETOOLONG);
}

TEST_CASE("all of a text is sent, however much room there is, or it is told that nobody reads") {
    auto pair = make_socket_pair(SOCK_STREAM);
    const std::string text(4 * 1024 * 1024, 'x');
    std::thread reader([&] {
        std::string piece(65536, '\0');
        for (std::size_t read = 0; read < text.size();)
            read += static_cast<std::size_t>(::read(pair.theirs.get(), piece.data(), piece.size()));
        pair.theirs.reset();
    });
    REQUIRE(send_all(pair.ours.get(), std::as_bytes(std::span(text))));
    reader.join();
    REQUIRE_FALSE(send_all(pair.ours.get(), std::as_bytes(std::span(text))));
}
