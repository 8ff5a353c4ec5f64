// SPDX-License-Identifier: Apache-2.0
#include "store/repository/moved-repository.hpp"

#include <fcntl.h>

#include "base/error.hpp"
#include "base/file-descriptor.hpp"

namespace imaged {

bool is_in_place(const Repository& repository) {
    return leads_to(AT_FDCWD, repository.path(), repository.fd()) &&
           leads_to(repository.fd(), "objects", repository.objects());
}

void require_in_place(const Repository& repository) {
    if (!is_in_place(repository))
        throw Error(ErrorKind::failed, "the repository " + repository.path() +
                                           " was moved away or replaced while the job ran. The repository that is "
                                           "there now has no results of the job");
}

}  // namespace imaged
