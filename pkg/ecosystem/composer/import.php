/* Loads the files that each package has loaded with the autoloader, each package in a process of its own. Says through marks
   whose code runs; this process runs none of it. Arguments: the packages' names. */
function mark($state, $index, $reason = "") { @opendir("/dev/null/import/$state/$index" . ($reason === "" ? "" : "/$reason")); }
mark("own", 0);
$vendor = getenv("COMPOSER_VENDOR_DIR");
$files = is_file("$vendor/composer/autoload_files.php") ? (function ($f) { return require $f; })("$vendor/composer/autoload_files.php") : [];
$loader = '<?php require "$argv[1]/composer/ClassLoader.php"; $l = new Composer\Autoload\ClassLoader($argv[1]);
foreach (["psr4" => "setPsr4", "namespaces" => "set"] as $f => $set) foreach (require "$argv[1]/composer/autoload_$f.php" as $p => $d) $l->$set($p, $d);
$l->addClassMap(require "$argv[1]/composer/autoload_classmap.php"); $l->register();
foreach (array_slice($argv, 2) as $f) require $f;';
foreach (array_slice($argv, 1) as $index => $name) {
    $own = array_values(array_filter($files, function ($f) use ($vendor, $name) { return strpos($f, "$vendor/$name/") === 0; }));
    if (!$own) { mark("ok", $index); continue; }
    $script = getenv("COMPOSER_HOME") . "/load-$index.php"; // written anew each time: what was loaded before could have changed it
    file_put_contents($script, $loader);
    mark("run", $index);
    passthru("exec timeout 60 php " . escapeshellarg($script) . " " . escapeshellarg($vendor) . " " . implode(" ", array_map("escapeshellarg", $own)) . " </dev/null", $code);
    mark("own", 0);
    $code === 0 ? mark("ok", $index) : mark("failed", $index, "Status-$code");
}
