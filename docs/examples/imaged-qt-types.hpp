// SPDX-License-Identifier: Apache-2.0
// Types for what qdbusxml2cpp makes of imaged's interface (the annotations org.qtproject.QtDBus.QtTypeName name them):
//     qdbusxml2cpp -i imaged-qt-types.hpp -p manager.h:manager.cpp org.imaged1.Manager.xml
//     qdbusxml2cpp -i imaged-qt-types.hpp -p job.h:job.cpp org.imaged1.Job.xml
// Call registerImagedTypes() once before the first call.
#pragma once

#include <QDBusArgument>
#include <QDBusMetaType>
#include <QDBusObjectPath>
#include <QList>
#include <QMetaType>
#include <QString>
#include <QVariantMap>

struct ImagedJob {  // of ListJobs
    uint id = 0;
    QDBusObjectPath path;
    QString kind, state;
};
using ImagedJobList = QList<ImagedJob>;
struct ImagedBytes {
    qulonglong done = 0, total = 0;
};
struct ImagedLayers {
    uint done = 0, total = 0;
};
Q_DECLARE_METATYPE(ImagedJob)
Q_DECLARE_METATYPE(ImagedBytes)
Q_DECLARE_METATYPE(ImagedLayers)

template <typename Pair>
QDBusArgument& writePair(QDBusArgument& argument, const Pair& pair) {
    argument.beginStructure();
    argument << pair.done << pair.total;
    argument.endStructure();
    return argument;
}
template <typename Pair>
const QDBusArgument& readPair(const QDBusArgument& argument, Pair& pair) {
    argument.beginStructure();
    argument >> pair.done >> pair.total;
    argument.endStructure();
    return argument;
}
inline QDBusArgument& operator<<(QDBusArgument& argument, const ImagedBytes& bytes) {
    return writePair(argument, bytes);
}
inline const QDBusArgument& operator>>(const QDBusArgument& argument, ImagedBytes& bytes) {
    return readPair(argument, bytes);
}
inline QDBusArgument& operator<<(QDBusArgument& argument, const ImagedLayers& layers) {
    return writePair(argument, layers);
}
inline const QDBusArgument& operator>>(const QDBusArgument& argument, ImagedLayers& layers) {
    return readPair(argument, layers);
}
inline QDBusArgument& operator<<(QDBusArgument& argument, const ImagedJob& job) {
    argument.beginStructure();
    argument << job.id << job.path << job.kind << job.state;
    argument.endStructure();
    return argument;
}
inline const QDBusArgument& operator>>(const QDBusArgument& argument, ImagedJob& job) {
    argument.beginStructure();
    argument >> job.id >> job.path >> job.kind >> job.state;
    argument.endStructure();
    return argument;
}

inline void registerImagedTypes() {
    qDBusRegisterMetaType<ImagedJob>();
    qDBusRegisterMetaType<ImagedJobList>();
    qDBusRegisterMetaType<ImagedBytes>();
    qDBusRegisterMetaType<ImagedLayers>();
    qDBusRegisterMetaType<QList<QVariantMap>>();
}
