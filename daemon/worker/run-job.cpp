// SPDX-License-Identifier: Apache-2.0
#include "run-job.hpp"

#include "base/error.hpp"
#include "outcome.hpp"
#include "store/image-copy.hpp"
#include "store/image-import.hpp"

namespace imaged {

namespace {

ImportRequest import_request(const job::Request& request) {
    ImportRequest import{request.repository, ImageReference::parse(request.image), {}, {}, {}};
    if (const auto target = request.text("target"); !target.empty()) import.target = ImageReference::parse(target);
    if (const auto digest = request.text("digest"); !digest.empty()) import.digest = Digest::parse(digest);
    import.proxy.auth_file = request.auth_file;
    return import;
}

job::Result run_prepare(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter) {
    const auto import = import_request(request);
    return prepare_result(import, prepare_import(import, cancellation, meter));
}

job::Result run_import(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter) {
    const auto import = import_request(request);
    return import_result(import, import_image(import, cancellation, meter));
}

job::Result run_copy(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter) {
    const bool from = request.flag("from");
    const auto other = request.text("repository");
    CopyRequest copy{from ? other : request.repository,
                     from ? request.repository : other,
                     from,
                     ImageReference::parse(request.image),
                     {}};
    if (const auto target = request.text("target"); !target.empty()) copy.target = ImageReference::parse(target);
    return copy_result(copy, from, copy_image(copy, cancellation, meter));
}

}  // namespace

job::Result run_job(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter) {
    switch (request.kind) {
        case job::Kind::prepare: return run_prepare(request, cancellation, meter);
        case job::Kind::import:
        case job::Kind::pull: return run_import(request, cancellation, meter);
        case job::Kind::copy: return run_copy(request, cancellation, meter);
    }
    throw Error(ErrorKind::failed, "no such kind of job");
}

}  // namespace imaged
