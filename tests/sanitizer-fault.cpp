// SPDX-License-Identifier: Apache-2.0
// Does what a sanitizer must report: use-after-free, overflow, leak or race, as its argument says.
#include <climits>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

namespace {

volatile int shared_number = 0;

int use_after_free() {
    auto* number = new volatile int(1);
    delete number;
    return *number;
}

int overflow(int more) {
    volatile int number = INT_MAX;
    number = number + more;
    return 0;
}

int leak() {
    static_cast<volatile char*>(std::malloc(10))[0] = 1;
    return 0;
}

int race() {
    std::thread other([] { shared_number = 1; });
    shared_number = 2;
    other.join();
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    // imaged starts its worker without arguments.
    const std::string fault = count > 1 ? arguments[1] : DEFAULT_FAULT;
    if (fault == "use-after-free") return use_after_free();
    if (fault == "overflow") return overflow(count);
    if (fault == "leak") return leak();
    if (fault == "race") return race();
    return 2;
}
