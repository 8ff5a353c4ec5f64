// SPDX-License-Identifier: Apache-2.0
// Assigns numbers to jobs. No number is given twice, also not by the next imaged on the same bus: a file keeps the
// first number that may be free. Numbers are reserved there a hundred at a time; an imaged that is killed loses the
// rest of them.
//
// One thread. The file is to lie in memory (below /run), because the bus thread writes it.
#pragma once

#include <cstdint>
#include <string>

namespace imaged {

class JobNumbers {
public:
    // Without FILE, numbers begin at 1 and are unique for the life of this object. A file that cannot be read or
    // written is logged, and numbers are given all the same.
    explicit JobNumbers(std::string file = {});
    // Gives back the reserved numbers that were not used.
    ~JobNumbers();
    JobNumbers& operator=(JobNumbers&&) = delete;

    std::uint32_t next();

private:
    void reserve(std::uint32_t end);

    const std::string file_;
    std::uint32_t last_ = 0, reserved_ = 0;
};

// The file NAME in the runtime directory of the imaged's unit, else, with SESSION, of its user; empty if there is none.
std::string runtime_file(const std::string& name, bool session);

}  // namespace imaged
