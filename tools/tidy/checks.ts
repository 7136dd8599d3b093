// The list of all checks, by name.
import { documentedDependencies, exactVersions } from "./dependencies.js";
import { importDirection } from "./direction.js";
import { fileHeader, fileLength, functionLength, lineLength } from "./layout.js";
import { folderReadme, orphanModules, orphanPages, unbuiltTests } from "./orphans.js";
import { includesPrecompiled } from "./precompiled.js";
import type { Check } from "./source-file.js";
import { bannedWords } from "./wording.js";

export const checks: Readonly<Record<string, Check>> = {
  "line length": lineLength,
  "file length": fileLength,
  "file header": fileHeader,
  "function length": functionLength,
  "banned words": bannedWords,
  "import direction": importDirection,
  "orphan modules": orphanModules,
  "orphan pages": orphanPages,
  "folder README": folderReadme,
  "unbuilt tests": unbuiltTests,
  "precompiled headers": includesPrecompiled,
  "exact versions": exactVersions,
  "documented dependencies": documentedDependencies,
};
