// SPDX-License-Identifier: Apache-2.0
// What a Qt program does with the code that qdbusxml2cpp makes of imaged's interface:
// qt-client ADDRESS IMAGE ARCHIVE AUTHFILE
#include <QCoreApplication>
#include <QDBusConnection>
#include <QDBusUnixFileDescriptor>
#include <QEventLoop>
#include <QFile>
#include <cstdio>

#include "job.h"
#include "manager.h"

namespace {

void follow(const QDBusConnection& bus, const char* what, QDBusPendingReply<uint, QDBusObjectPath> reply) {
    reply.waitForFinished();
    if (reply.isError()) {
        std::printf("%s: %s\n", what, qPrintable(reply.error().name()));
        return;
    }
    OrgImaged1JobInterface job("org.imaged1", reply.argumentAt<1>().path(), bus);
    QEventLoop loop;
    QString result, error;
    QObject::connect(&job, &OrgImaged1JobInterface::Finished, &loop,
                     [&](const QString& how, const QString& name, const QString&, const QVariantMap&) {
                         result = how;
                         error = name;
                         loop.quit();
                     });
    // The end may have come before the signal was connected.
    if (job.state() == "finished") {
        result = job.result();
        error = job.errorName();
    } else {
        loop.exec();
    }
    const auto bytes = job.bytes();
    std::printf("%s: %s %s%s\n", what, qPrintable(result), qPrintable(error),
                job.fraction() > 0 && bytes.total > 0 && bytes.done == bytes.total ? "progress" : "");
}

QDBusUnixFileDescriptor opened(const QString& path) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly)) std::abort();
    return QDBusUnixFileDescriptor(file.handle());
}

}  // namespace

int main(int count, char** words) {
    QCoreApplication application(count, words);
    registerImagedTypes();
    const auto bus = QDBusConnection::connectToBus(words[1], "imaged");
    OrgImaged1ManagerInterface manager("org.imaged1", "/org/imaged1", bus);
    const QString image = words[2];
    follow(bus, "pull", manager.Pull(image, {}));
    follow(bus, "error", manager.Pull("oci:/nonexistent:x", {}));
    follow(bus, "authfile", manager.Pull(image, {{"authfile", QVariant::fromValue(opened(words[4]))}}));
    follow(bus, "archive", manager.ImportArchive(opened(words[3]), "docker://example.org/archive:1", {}));
    auto images = manager.ListImages({});
    images.waitForFinished();
    auto jobs = manager.ListJobs();
    jobs.waitForFinished();
    std::printf("list: %d\n", images.isError() || jobs.isError() ? -1 : static_cast<int>(images.value().size()));
    return jobs.value().size() >= 4 ? 0 : 1;
}
