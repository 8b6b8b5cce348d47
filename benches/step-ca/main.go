// A step-ca with what the bench needs of it and nothing else: Debian packages its library and not its program.
//
// Usage: step-ca CONFIG
package main

import (
	"log"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	_ "github.com/smallstep/certificates/cas/softcas"
	_ "github.com/smallstep/certificates/kms/softkms"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: step-ca CONFIG")
	}
	configuration, err := config.LoadConfiguration(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server, err := ca.New(configuration, ca.WithConfigFile(os.Args[1]), ca.WithQuiet(true))
	if err != nil {
		log.Fatal(err)
	}
	if err := server.Run(); err != nil {
		log.Fatal(err)
	}
}
