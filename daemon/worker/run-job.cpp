// SPDX-License-Identifier: Apache-2.0
#include "run-job.hpp"

#include <utility>

#include "base/error.hpp"
#include "fetch-settings.hpp"
#include "job-module.hpp"
#include "outcome.hpp"
#include "proxy-start.hpp"
#include "retry.hpp"
#include "store/export/image-copy.hpp"
#include "store/export/image-export.hpp"
#include "store/import/image-import.hpp"
#include "store/import/update-check.hpp"
#include "store/repository/remote-writer.hpp"
#include "store/upkeep/prune.hpp"
#include "upkeep.hpp"

namespace imaged {

namespace {

// The image as the job is to read it: with the administrator's signature source, where the caller's asks for less.
ImageReference source_reference(const job::Request& request) {
    auto image = ImageReference::parse(request.image);
    const auto source = image.signature_source();
    const bool unverified = source == SignatureSource::unverified;
    if ((source == SignatureSource::configured || unverified) &&
        demands_signature(request.settings.signature_policy, unverified))
        return image.with(SignatureSource::container_policy);
    return image;
}

ImportRequest import_request(const job::Request& request) {
    ImportRequest import{request.repository, source_reference(request), {}, {}, {}};
    if (const auto target = request.text("target"); !target.empty()) import.target = ImageReference::parse(target);
    if (const auto digest = request.text("digest"); !digest.empty()) import.digest = Digest::parse(digest);
    import.any_architecture = request.flag("any-architecture");
    import.proxy = image_proxy_options(request);
    take_fetch_settings(import, request);
    import.archive = request.input_file;
    if (const auto name = request.text("name"); !name.empty()) import.archive_name = name;
    if (request.publisher)
        import.writer =
            std::make_shared<RemoteWriter>(FileDescriptor(*request.publisher), import.target.value_or(import.image));
    return import;
}

using StartedProxy = std::shared_ptr<SkopeoProcess>;

// REQUEST for one attempt. The first gets the proxy that is there; whatever ended an attempt may have broken its proxy.
ImportRequest attempt_with(const ImportRequest& request, StartedProxy& proxy) {
    auto attempt = request;
    attempt.proxy.started = std::exchange(proxy, nullptr);
    return attempt;
}

job::Result run_prepare(const job::Request& request, StartedProxy proxy, Cancellation& cancellation,
                        ProgressMeter& meter) {
    const auto import = import_request(request);
    return with_retries(request.settings.retries, cancellation, [&](Cancellation& attempt) {
        return prepare_result(import, prepare_import(attempt_with(import, proxy), attempt, meter));
    });
}

// By another worker: this one may not read what others' layers are, and remove their refs.
std::vector<std::string> have_layers_dropped(RemoteWriter& writer) {
    const auto channel = writer.drop_layers();
    const auto text = read_all(channel.get(), job::max_message_bytes, "the result of a worker");
    const auto message = job::decode_message(text.substr(0, text.find('\n') + 1));
    const auto* const result = std::get_if<job::Result>(&message);
    if (result == nullptr || result->outcome != job::Outcome::success)
        throw Error(ErrorKind::failed, "drop unused layers: " + (result != nullptr ? result->message : "no result"));
    return result->details.at("layers-dropped").get<std::vector<std::string>>();
}

// An update leaves layers that nobody needs any more. The pull has succeeded whatever becomes of them.
std::vector<std::string> drop_replaced_layers(const ImportedImage& imported, const ImportRequest& import) {
    if (!imported.changed || !imported.previous_digest) return {};
    try {
        auto* const remote = dynamic_cast<RemoteWriter*>(import.writer.get());
        return remote != nullptr ? have_layers_dropped(*remote) : drop_unused_layers(import.repository);
    } catch (const std::exception&) {
        return {};  // the next prune tries again
    }
}

job::Result run_import(const job::Request& request, StartedProxy proxy, Cancellation& cancellation,
                       ProgressMeter& meter) {
    const auto import = import_request(request);
    return with_retries(request.settings.retries, cancellation, [&](Cancellation& attempt) {
        const auto imported = import_image(attempt_with(import, proxy), attempt, meter);
        return import_result(import, imported, drop_replaced_layers(imported, import));
    });
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
    auto result = copy_result(copy, from, copy_image(copy, cancellation, meter));
    if (from) note_copied_source(copy);
    return result;
}

job::Result run_check(const job::Request& request, StartedProxy proxy, Cancellation& cancellation,
                      ProgressMeter& meter) {
    auto import = import_request(request);
    // What the caller's own credentials opened is not for everybody.
    import.remember_update = request.settings.host_credentials;
    return with_retries(request.settings.retries, cancellation, [&](Cancellation& attempt) {
        return check_result(import, check_update(attempt_with(import, proxy), attempt, meter));
    });
}

job::Result run_export(const job::Request& request, Cancellation& cancellation, ProgressMeter& meter) {
    ExportRequest wanted{request.repository,
                         ImageReference::parse(request.image),
                         ImageReference::parse(request.text("destination")),
                         Compression::gzip,
                         {}};
    const auto compression = request.text("compression");
    if (compression == "zstd") wanted.compression = Compression::zstd;
    if (compression == "none") wanted.compression = Compression::none;
    wanted.proxy = proxy_options(request);
    if (request.publisher)
        wanted.writer = std::make_shared<RemoteWriter>(FileDescriptor(*request.publisher), std::nullopt);
    return with_retries(request.settings.retries, cancellation, [&](Cancellation& attempt) {
        return export_result(wanted, export_image(wanted, attempt, meter));
    });
}

}  // namespace

job::Result run_job(const job::Request& request, StartedProxy proxy, Cancellation& cancellation, ProgressMeter& meter) {
    switch (request.kind) {
        case job::Kind::prepare: return run_prepare(request, std::move(proxy), cancellation, meter);
        case job::Kind::check_images: break;  // the daemon's
        case job::Kind::check: return run_check(request, std::move(proxy), cancellation, meter);
        case job::Kind::import:
        case job::Kind::pull:
        case job::Kind::import_archive: return run_import(request, std::move(proxy), cancellation, meter);
        case job::Kind::copy: return run_copy(request, cancellation, meter);
        case job::Kind::remove: return run_remove(request, cancellation);
        case job::Kind::prune: return run_prune(request, cancellation, meter);
        case job::Kind::verify: return run_verify(request, cancellation, meter);
        case job::Kind::export_: return run_export(request, cancellation, meter);
    }
    throw Error(ErrorKind::failed, "no such kind of job");
}

}  // namespace imaged

extern "C" __attribute__((visibility("default"))) void imaged_run_job(const imaged::job::Request& request,
                                                                      std::shared_ptr<imaged::SkopeoProcess> proxy,
                                                                      imaged::Cancellation& cancellation,
                                                                      imaged::ProgressMeter& meter,
                                                                      imaged::job::Result& result) {
    result = imaged::run_job(request, std::move(proxy), cancellation, meter);
}
