// SPDX-License-Identifier: Apache-2.0
#include "base/child-process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "base/error.hpp"
#include "catch.hpp"

using namespace imaged;
using namespace std::chrono_literals;

namespace {

// What PROGRAM prints.
std::string printed(Program program) {
    auto [ours, theirs] = make_pipe();
    program.descriptors.push_back({theirs.get(), STDOUT_FILENO});
    auto child = ChildProcess::start(program, "start");
    theirs.reset();
    auto text = read_all(ours.get(), 65536, "pipe");
    child.wait();
    return text;
}

Program shell(const std::string& script) {
    return {.command = {"sh", "-c", script}};
}

}  // namespace

TEST_CASE("a program gets the descriptors that it is given by their numbers, and no others") {
    // Neither closes on exec; the numbers that the program knows are taken by others here.
    const FileDescriptor leaked(::open("/dev/null", O_RDONLY)), high(::fcntl(leaked.get(), F_DUPFD, 300));
    const auto three = make_pipe(), four = make_pipe();
    auto program = shell("ls -1 /proc/$$/fd; printf third >&3; printf fourth >&4");
    program.descriptors = {{four.theirs.get(), 4}, {three.theirs.get(), 3}};
    REQUIRE(printed(program) == "0\n1\n2\n3\n4\n");
    std::array<char, 16> text{};
    REQUIRE(::read(three.ours.get(), text.data(), text.size()) == 5);
    REQUIRE(std::string(text.data()) == "third");
    REQUIRE(::read(four.ours.get(), text.data(), text.size()) == 6);
    REQUIRE(std::string(text.data()) == "fourth");
}

TEST_CASE("descriptors may trade their numbers") {
    const auto one = make_pipe(), other = make_pipe();
    auto program = shell("printf one >/proc/$$/fd/" + std::to_string(other.theirs.get()));
    program.command[2] += "; printf other >/proc/$$/fd/" + std::to_string(one.theirs.get());
    program.descriptors = {{one.theirs.get(), other.theirs.get()}, {other.theirs.get(), one.theirs.get()}};
    REQUIRE(printed(program).empty());
    std::array<char, 16> text{};
    REQUIRE(::read(one.ours.get(), text.data(), text.size()) == 3);
    REQUIRE(std::string(text.data()) == "one");
}

TEST_CASE("a program has this process's environment or its own, and runs what is not its first word") {
    ::setenv("IMAGED_TEST", "here", 1);
    REQUIRE(printed(shell("printf \"$IMAGED_TEST\"")) == "here");
    auto own = shell("printf \"$IMAGED_TEST$OTHER\"");
    own.environment = {"OTHER=own"};
    REQUIRE(printed(own) == "own");
    REQUIRE(printed({.command = {"other", "-c", "printf \"$0\""}, .file = "/bin/sh"}) == "other");
    ::unsetenv("IMAGED_TEST");
}

TEST_CASE("a child that cannot run its program ends with the status 127, and its failure is the cause") {
    const auto failure = [](const Program& program) {
        auto child = ChildProcess::start(program, "start");
        REQUIRE(WEXITSTATUS(child.wait()) == cannot_run);
        auto moved = std::move(child);
        REQUIRE(moved.failure() == moved.failure());
        return moved.failure();
    };
    REQUIRE(failure({.command = {"/nonexistent/program"}}) ==
            "cannot run /nonexistent/program: No such file or directory");
    REQUIRE(failure({.command = {"/dev/null"}}) == "cannot run /dev/null: Permission denied");
    REQUIRE(failure({.command = {"/bin/true", std::string(1 << 20, 'x')}}) ==
            "cannot run /bin/true: Argument list too long");
    REQUIRE(failure({.command = {"/bin/true"}, .prepare = [] { throw Error(ErrorKind::failed, "not prepared"); }}) ==
            "not prepared");
    auto ran = ChildProcess::start(shell("exit 127"), "start");
    REQUIRE(WEXITSTATUS(ran.wait()) == cannot_run);
    REQUIRE_FALSE(ran.failure());
}

TEST_CASE("a program starts with fresh signals, in a group of its own, if that is asked for") {
    sigset_t blocked, before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR1);
    ::sigprocmask(SIG_BLOCK, &blocked, &before);
    const auto old = ::signal(SIGUSR2, SIG_IGN);
    // No shell between: some unblock signals by themselves.
    Program program{.command = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}};
    const auto inherited = printed(program);
    program.fresh_signals = true;
    const auto fresh = printed(program);
    ::signal(SIGUSR2, old);
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    REQUIRE(inherited.starts_with("SigBlk:\t"));
    REQUIRE((std::stoull(inherited.substr(8), nullptr, 16) & (1ULL << (SIGUSR1 - 1))) != 0);
    // But for the C library's two: no program can set them, and children of its posix_spawn ignore them.
    const std::uint64_t own = 3ULL << 31;
    REQUIRE(fresh.starts_with("SigBlk:\t0000000000000000\nSigIgn:\t"));
    REQUIRE((std::stoull(fresh.substr(fresh.rfind('\t') + 1), nullptr, 16) & ~own) == 0);
    auto group = shell("cut -d' ' -f5 /proc/$$/stat; echo $$");
    group.own_group = true;
    const auto lines = printed(group);
    REQUIRE(lines.substr(0, lines.find('\n') + 1) == lines.substr(lines.find('\n') + 1));
}

TEST_CASE("how a process has ended is told again and again, at once or in time") {
    const auto pipe = make_pipe();
    auto child = ChildProcess::start(
        {.command = {"sh", "-c", "read line <&3; exit 7"}, .descriptors = {{pipe.ours.get(), 3}}}, "start");
    REQUIRE(child);
    REQUIRE_FALSE(child.ended());
    REQUIRE_FALSE(child.ended_within(20ms));
    REQUIRE(::write(pipe.theirs.get(), "\n", 1) == 1);
    const auto status = child.ended_within(20s);
    REQUIRE(status);
    REQUIRE(WEXITSTATUS(*status) == 7);
    REQUIRE(child.ended() == status);
    REQUIRE(child.wait() == *status);
    REQUIRE_FALSE(child);
    child.signal(SIGKILL);  // nobody else's number is used
}

TEST_CASE("a process that is ended was killed, and its descriptor tells the end") {
    auto child = ChildProcess::start({.command = {"sleep", "1000"}}, "start");
    pollfd ready{child.fd(), POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 0) == 0);
    auto moved = std::move(child);
    REQUIRE_FALSE(child);
    REQUIRE(WTERMSIG(moved.end()) == SIGKILL);
    REQUIRE(::poll(&ready, 1, 0) == 1);
}

TEST_CASE("a copy of this process goes on with what it has") {
    const auto pipe = make_pipe();
    auto child = ChildProcess::copy("copy");
    if (child.is_copy()) {
        const auto written = ::write(pipe.theirs.get(), "copy", 4);
        ::_exit(written == 4 ? 3 : 4);
    }
    REQUIRE(WEXITSTATUS(child.wait()) == 3);
    std::array<char, 8> text{};
    REQUIRE(::read(pipe.ours.get(), text.data(), text.size()) == 4);
}

TEST_CASE("all descriptors but those that are kept are closed") {
    auto child = ChildProcess::copy("copy");
    if (child.is_copy()) {
        const int one = ::open("/dev/null", O_RDONLY), two = ::open("/dev/null", O_RDONLY);
        const std::array kept{one};
        close_others(kept);
        ::_exit(::fcntl(one, F_GETFD) >= 0 && ::fcntl(two, F_GETFD) < 0 && ::fcntl(0, F_GETFD) < 0 ? 0 : 1);
    }
    REQUIRE(child.wait() == 0);
}
