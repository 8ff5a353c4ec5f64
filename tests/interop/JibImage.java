// SPDX-License-Identifier: Apache-2.0
// Builds an image of a directory with Jib, as its plugins for Maven and Gradle do: arguments are the directory and the
// registry's name for the image.
import com.google.cloud.tools.jib.api.Containerizer;
import com.google.cloud.tools.jib.api.Jib;
import com.google.cloud.tools.jib.api.RegistryImage;
import com.google.cloud.tools.jib.api.buildplan.AbsoluteUnixPath;
import com.google.cloud.tools.jib.api.buildplan.FileEntriesLayer;
import com.google.cloud.tools.jib.api.buildplan.FilePermissions;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.stream.Stream;

public class JibImage {
    public static void main(String[] arguments) throws Exception {
        Path root = Path.of(arguments[0]);
        FileEntriesLayer.Builder layer = FileEntriesLayer.builder().setName("files");
        try (Stream<Path> paths = Files.walk(root)) {
            for (Path path : (Iterable<Path>) paths.sorted()::iterator) {
                if (path.equals(root) || Files.isSymbolicLink(path)) continue; // Jib has no links
                layer.addEntry(path, AbsoluteUnixPath.get("/" + root.relativize(path)),
                    FilePermissions.fromPosixFilePermissions(Files.getPosixFilePermissions(path, LinkOption.NOFOLLOW_LINKS)));
            }
        }
        Jib.fromScratch()
            .setFileEntriesLayers(layer.build())
            .containerize(Containerizer.to(RegistryImage.named(arguments[1])).setAllowInsecureRegistries(true));
        System.exit(0);
    }
}
